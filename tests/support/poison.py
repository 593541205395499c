"""Records that must be refused, each with its reason, and odd ones that must not be.

`POISON` is bad on both input topics, `PREDICTION_POISON` only as a prediction. None of them depends on
the clock: what has no `event_time` takes the timestamp of the record it is sent in. Names are unique.
"""

from __future__ import annotations

import json

from schemas.errors import Reason

__all__ = ["ODD_BUT_GOOD", "POISON", "PREDICTION_POISON", "nested"]

Payload = tuple[str, bytes | None, Reason]

_KIBIBYTE = 1024
_MEBIBYTE = 1024 * _KIBIBYTE
_BASE = {"request_id": '"r-1"', "model": '"fraud"', "prediction": '"ok"', "label": '"ok"'}


def _record(**fields: str) -> bytes:
    """A good prediction and label in one, with fields replaced or added as JSON text."""
    return ("{" + ",".join(f'"{name}":{text}' for name, text in {**_BASE, **fields}.items()) + "}").encode()


def _without(*names: str) -> bytes:
    kept = {name: text for name, text in _BASE.items() if name not in names}
    return ("{" + ",".join(f'"{name}":{text}' for name, text in kept.items()) + "}").encode()


def _answer(text: str) -> bytes:
    return _record(prediction=text, label=text)


def _with_bytes(content: bytes) -> bytes:
    """A good record with raw bytes as the text of its request id."""
    return _record(request_id='"@"').replace(b"@", content)


def nested(levels: int, *, opening: str = "[", closing: str = "]") -> bytes:
    """A good record whose deepest value is `levels` deep, the record itself included."""
    return _record(extra=opening * (levels - 1) + closing * (levels - 1))


def _nested_objects(levels: int) -> bytes:
    return _record(extra='{"a":' * (levels - 1) + "1" + "}" * (levels - 1))


_GOOD = _record()

_NO_JSON: list[Payload] = [
    ("null value", None, Reason.TOMBSTONE),
    ("no bytes", b"", Reason.EMPTY),
    ("one space", b" ", Reason.EMPTY),
    ("line breaks", b"\r\n\t\n", Reason.EMPTY),
    ("one byte over a mebibyte", _record(extra=f'"{"x" * _MEBIBYTE}"'), Reason.TOO_LARGE),
    ("id of a megabyte", _record(request_id=f'"{"x" * 1_000_000}"'), Reason.OUT_OF_BOUNDS),
    ("two mebibytes of spaces", b" " * 2 * _MEBIBYTE, Reason.TOO_LARGE),
    ("two mebibytes of zeros", b"\x00" * 2 * _MEBIBYTE, Reason.TOO_LARGE),
    ("65 lists", nested(65), Reason.TOO_DEEP),
    ("65 objects", _nested_objects(65), Reason.TOO_DEEP),
    ("900 lists", nested(900), Reason.TOO_DEEP),
    ("100,000 lists", nested(100_000), Reason.TOO_DEEP),
    ("100,000 objects", _nested_objects(100_000), Reason.TOO_DEEP),
    ("100,000 lists never closed", b"[" * 100_000, Reason.TOO_DEEP),
    ("byte 0xff in the id", _with_bytes(b"\xff"), Reason.BAD_UTF8),
    ("overlong slash", _with_bytes(b"\xc0\xaf"), Reason.BAD_UTF8),
    ("overlong NUL", _with_bytes(b"\xc0\x80"), Reason.BAD_UTF8),
    ("surrogate in UTF-8", _with_bytes(b"\xed\xa0\x80"), Reason.BAD_UTF8),
    ("beyond Unicode", _with_bytes(b"\xf4\x90\x80\x80"), Reason.BAD_UTF8),
    ("cut inside a character", _with_bytes(b"\xe2\x82"), Reason.BAD_UTF8),
    ("Latin-1", _with_bytes("Zürich".encode("latin-1")), Reason.BAD_UTF8),
    ("UTF-16 with its mark", _GOOD.decode().encode("utf-16"), Reason.BAD_UTF8),
    ("gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\xae\x05\x00", Reason.BAD_UTF8),
    ("random bytes", bytes(range(128, 256)), Reason.BAD_UTF8),
    ("UTF-16 without a mark", _GOOD.decode().encode("utf-16-le"), Reason.MALFORMED_JSON),
    ("byte order mark", b"\xef\xbb\xbf" + _GOOD, Reason.MALFORMED_JSON),
    ("schema registry framing", b"\x00\x00\x00\x00\x07" + _GOOD, Reason.MALFORMED_JSON),
    ("one NUL byte", b"\x00", Reason.MALFORMED_JSON),
    ("NUL byte after the record", _GOOD + b"\x00", Reason.MALFORMED_JSON),
    ("NUL byte in the id", _with_bytes(b"a\x00b"), Reason.MALFORMED_JSON),
    ("line break in the id", _with_bytes(b"a\nb"), Reason.MALFORMED_JSON),
    ("cut in half", _GOOD[: len(_GOOD) // 2], Reason.MALFORMED_JSON),
    ("without the last brace", _GOOD[:-1], Reason.MALFORMED_JSON),
    ("two records", _GOOD + _GOOD, Reason.MALFORMED_JSON),
    ("two lines", _GOOD + b"\n" + _GOOD, Reason.MALFORMED_JSON),
    ("trailing comma", _GOOD[:-1] + b",}", Reason.MALFORMED_JSON),
    ("single quotes", _GOOD.replace(b'"', b"'"), Reason.MALFORMED_JSON),
    ("a comment", b"/* hello */" + _GOOD, Reason.MALFORMED_JSON),
    ("plain text", b"hello", Reason.MALFORMED_JSON),
    ("CSV", b"r-1,fraud,ok", Reason.MALFORMED_JSON),
    ("XML", b"<prediction id='r-1'/>", Reason.MALFORMED_JSON),
    ("Python's None", _record(score="None"), Reason.MALFORMED_JSON),
    ("NaN", _answer("NaN"), Reason.MALFORMED_JSON),
    ("NaN in an ignored field", _record(extra="NaN"), Reason.MALFORMED_JSON),
    ("Infinity", _answer("Infinity"), Reason.MALFORMED_JSON),
    ("minus Infinity", _answer("-Infinity"), Reason.MALFORMED_JSON),
    ("leading zero", _record(instance="01"), Reason.MALFORMED_JSON),
    ("plus sign", _record(instance="+1"), Reason.MALFORMED_JSON),
    ("hexadecimal", _record(instance="0x1"), Reason.MALFORMED_JSON),
    ("number that ends in a point", _answer("1."), Reason.MALFORMED_JSON),
    ("lone high surrogate in the id", _record(request_id=r'"\ud800"'), Reason.MALFORMED_JSON),
    ("lone high surrogate before text", _record(request_id=r'"\ud800 and more"'), Reason.MALFORMED_JSON),
    ("lone low surrogate in the id", _record(request_id=r'"\udc00"'), Reason.MALFORMED_JSON),
    ("swapped surrogates", _record(request_id=r'"\ude00\ud83d"'), Reason.MALFORMED_JSON),
    ("lone surrogate as class", _answer(r'"\ud83d"'), Reason.MALFORMED_JSON),
    ("lone surrogate in an ignored field", _record(extra=r'"\ud800"'), Reason.MALFORMED_JSON),
    ("unknown escape", _record(request_id=r'"\x41"'), Reason.MALFORMED_JSON),
]

_NO_RECORD: list[Payload] = [
    ("a list of records", b"[" + _GOOD + b"]", Reason.WRONG_SHAPE),
    ("a string of JSON", json.dumps(_GOOD.decode()).encode(), Reason.WRONG_SHAPE),
    ("a number", b"42", Reason.WRONG_SHAPE),
    ("null as text", b"null", Reason.WRONG_SHAPE),
    ("true", b"true", Reason.WRONG_SHAPE),
    ("empty list", b" []", Reason.WRONG_SHAPE),
    ("empty object", b"{}", Reason.MISSING_FIELD),
    ("no request id", _without("request_id"), Reason.MISSING_FIELD),
    ("null request id", _record(request_id="null"), Reason.MISSING_FIELD),
    ("request id in capitals", b'{"REQUEST_ID":"r-1","model":"m","label":1,"prediction":1}', Reason.MISSING_FIELD),
    ("neither prediction nor label", _without("prediction", "label"), Reason.MISSING_FIELD),
    ("null for prediction and label", _answer("null"), Reason.MISSING_FIELD),
    ("last of two request ids is null", _GOOD[:-1] + b',"request_id":null}', Reason.MISSING_FIELD),
]

_WRONG_FIELDS: list[Payload] = [
    ("number as request id", _record(request_id="17"), Reason.WRONG_TYPE),
    ("list as request id", _record(request_id='["r-1"]'), Reason.WRONG_TYPE),
    ("object as request id", _record(request_id='{"$oid":"1"}'), Reason.WRONG_TYPE),
    ("number as model", _record(model="3"), Reason.WRONG_TYPE),
    ("integral float as instance", _record(instance="1.0"), Reason.WRONG_TYPE),
    ("fraction as instance", _record(instance="1.5"), Reason.WRONG_TYPE),
    ("bool as instance", _record(instance="true"), Reason.WRONG_TYPE),
    ("string as instance", _record(instance='"0"'), Reason.WRONG_TYPE),
    ("milliseconds as event time", _record(event_time="1795435200000"), Reason.WRONG_TYPE),
    ("object as answer", _answer('{"class":"ok"}'), Reason.WRONG_TYPE),
    ("list in a list as answer", _answer('[["ok"]]'), Reason.WRONG_TYPE),
    ("null in a list as answer", _answer('["ok",null]'), Reason.WRONG_TYPE),
    ("empty request id", _record(request_id='""'), Reason.OUT_OF_BOUNDS),
    ("request id of 257 bytes", _record(request_id=f'"{"x" * 257}"'), Reason.OUT_OF_BOUNDS),
    ("request id of 129 umlauts", _record(request_id=f'"{"ü" * 129}"'), Reason.OUT_OF_BOUNDS),
    ("request id of 65 escaped emoji", _record(request_id='"' + r"\ud83d\ude00" * 65 + '"'), Reason.OUT_OF_BOUNDS),
    ("request id of 200 kB", _record(request_id=f'"{"x" * 200_000}"'), Reason.OUT_OF_BOUNDS),
    ("empty model", _record(model='""'), Reason.OUT_OF_BOUNDS),
    ("model of 129 bytes", _record(model=f'"{"x" * 129}"'), Reason.OUT_OF_BOUNDS),
    ("model of 65 umlauts", _record(model=f'"{"ü" * 65}"'), Reason.OUT_OF_BOUNDS),
    ("negative instance", _record(instance="-1"), Reason.OUT_OF_BOUNDS),
    ("instance of 2**31", _record(instance=str(2**31)), Reason.OUT_OF_BOUNDS),
    ("instance of 2**64", _record(instance=str(2**64)), Reason.OUT_OF_BOUNDS),
    ("instance of 400 digits", _record(instance="9" * 400), Reason.OUT_OF_BOUNDS),
    ("instance of 5,000 digits", _record(instance="9" * 5_000), Reason.OUT_OF_BOUNDS),
    ("class of 129 bytes", _answer(f'"{"x" * 129}"'), Reason.OUT_OF_BOUNDS),
    ("class of 65 umlauts", _answer(f'"{"ü" * 65}"'), Reason.OUT_OF_BOUNDS),
    ("class of 129 bytes in a list", _answer(f'["ok","{"x" * 129}"]'), Reason.OUT_OF_BOUNDS),
    ("integer of 400 digits", _answer("9" * 400), Reason.OUT_OF_BOUNDS),
    ("negative integer of 400 digits", _answer("-" + "9" * 400), Reason.OUT_OF_BOUNDS),
    ("integer of 400 digits in a list", _answer(f"[1,{'9' * 400}]"), Reason.OUT_OF_BOUNDS),
    ("integer of 5,000 digits", _answer("9" * 5_000), Reason.OUT_OF_BOUNDS),
    ("1e400", _answer("1e400"), Reason.OUT_OF_BOUNDS),
    ("minus 1e400", _answer("-1e400"), Reason.OUT_OF_BOUNDS),
    ("1e400 in a list", _answer("[1,1e400]"), Reason.OUT_OF_BOUNDS),
]


def _time(text: str) -> bytes:
    return _record(event_time=f'"{text}"')


_WRONG_TIMES: list[Payload] = [
    ("time without zone", _time("2026-11-23T12:00:00"), Reason.BAD_TIME),
    ("date alone", _time("2026-11-23"), Reason.BAD_TIME),
    ("empty time", _time(""), Reason.BAD_TIME),
    ("time in words", _time("yesterday"), Reason.BAD_TIME),
    ("seconds as text", _time("1795435200"), Reason.BAD_TIME),
    ("space instead of T", _time("2026-11-23 12:00:00Z"), Reason.BAD_TIME),
    ("space before the time", _time(" 2026-11-23T12:00:00Z"), Reason.BAD_TIME),
    ("space after the time", _time("2026-11-23T12:00:00Z "), Reason.BAD_TIME),
    ("zone without colon", _time("2026-11-23T12:00:00+0100"), Reason.BAD_TIME),
    ("zone of 24 hours", _time("2026-11-23T12:00:00+24:00"), Reason.BAD_TIME),
    ("zone by name", _time("2026-11-23T12:00:00 CET"), Reason.BAD_TIME),
    ("second 60", _time("2016-12-31T23:59:60Z"), Reason.BAD_TIME),
    ("hour 24", _time("2026-11-23T24:00:00Z"), Reason.BAD_TIME),
    ("month 13", _time("2026-13-01T00:00:00Z"), Reason.BAD_TIME),
    ("February 29 of a common year", _time("2026-02-29T00:00:00Z"), Reason.BAD_TIME),
    ("year 0", _time("0000-01-01T00:00:00Z"), Reason.BAD_TIME),
    ("year of five digits", _time("12026-11-23T12:00:00Z"), Reason.BAD_TIME),
    ("comma before the fraction", _time("2026-11-23T12:00:00,5Z"), Reason.BAD_TIME),
    ("point without fraction", _time("2026-11-23T12:00:00.Z"), Reason.BAD_TIME),
    ("no seconds", _time("2026-11-23T12:00Z"), Reason.BAD_TIME),
    ("Arabic digits", _time("٢٠٢٦-11-23T12:00:00Z"), Reason.BAD_TIME),
    ("NUL in the time", _time(r"2026-11-23T12:00:00Z\u0000"), Reason.BAD_TIME),
    ("time of 100,000 characters", _time("2" * 100_000), Reason.BAD_TIME),
    ("year 1970", _time("1970-01-01T00:00:00Z"), Reason.IMPLAUSIBLE_TIME),
    ("year 1", _time("0001-01-01T00:00:00+23:59"), Reason.IMPLAUSIBLE_TIME),
    ("last millisecond of 1999", _time("1999-12-31T23:59:59.999999Z"), Reason.IMPLAUSIBLE_TIME),
    ("2000 east of Greenwich", _time("2000-01-01T00:59:59+01:00"), Reason.IMPLAUSIBLE_TIME),
    ("year 2100", _time("2100-01-01T00:00:00Z"), Reason.IMPLAUSIBLE_TIME),
    ("end of year 9999", _time("9999-12-31T23:59:59.999Z"), Reason.IMPLAUSIBLE_TIME),
    ("year 10000 by its zone", _time("9999-12-31T23:59:59-23:59"), Reason.IMPLAUSIBLE_TIME),
]

POISON: list[Payload] = [*_NO_JSON, *_NO_RECORD, *_WRONG_FIELDS, *_WRONG_TIMES]

PREDICTION_POISON: list[Payload] = [
    ("no model", _without("model"), Reason.MISSING_FIELD),
    ("null model", _record(model="null"), Reason.MISSING_FIELD),
    ("no prediction though ok", _record(status='"ok"', prediction="null"), Reason.MISSING_FIELD),
    ("version of 129 bytes", _record(model_version=f'"{"x" * 129}"'), Reason.OUT_OF_BOUNDS),
    ("version of 65 umlauts", _record(model_version=f'"{"ü" * 65}"'), Reason.OUT_OF_BOUNDS),
    ("number as version", _record(model_version="3"), Reason.WRONG_TYPE),
    ("bool as score", _record(score="true"), Reason.WRONG_TYPE),
    ("string as score", _record(score='"0.5"'), Reason.WRONG_TYPE),
    ("score in per cent", _record(score="83"), Reason.OUT_OF_BOUNDS),
    ("score a hair above 1", _record(score="1.0000000000000002"), Reason.OUT_OF_BOUNDS),
    ("negative score", _record(score="-0.1"), Reason.OUT_OF_BOUNDS),
    ("score of 5,000 digits", _record(score="9" * 5_000), Reason.OUT_OF_BOUNDS),
    ("list of probabilities", _record(probabilities="[0.5,0.5]"), Reason.WRONG_TYPE),
    ("probability as string", _record(probabilities='{"ok":"0.5"}'), Reason.WRONG_TYPE),
    ("probability above 1", _record(probabilities='{"ok":1.5}'), Reason.OUT_OF_BOUNDS),
    ("list of features", _record(features="[1,2]"), Reason.WRONG_TYPE),
    ("string of features", _record(features='"{}"'), Reason.WRONG_TYPE),
    ("list as segment", _record(segment='["DE"]'), Reason.WRONG_TYPE),
    ("number as segment value", _record(segment='{"store":17}'), Reason.WRONG_TYPE),
    ("bool as segment value", _record(segment='{"new":true}'), Reason.WRONG_TYPE),
    ("segment value of 129 bytes", _record(segment=f'{{"a":"{"x" * 129}"}}'), Reason.OUT_OF_BOUNDS),
    ("segment value of 65 umlauts", _record(segment=f'{{"a":"{"ü" * 65}"}}'), Reason.OUT_OF_BOUNDS),
    ("string as signal", _record(signals='{"queue":"7"}'), Reason.WRONG_TYPE),
    ("infinite signal", _record(signals='{"queue":1e400}'), Reason.OUT_OF_BOUNDS),
    ("negative latency", _record(latency_ms="-1"), Reason.OUT_OF_BOUNDS),
    ("infinite latency", _record(latency_ms="1e400"), Reason.OUT_OF_BOUNDS),
    ("string as latency", _record(latency_ms='"12ms"'), Reason.WRONG_TYPE),
    ("unknown status", _record(status='"OK"'), Reason.OUT_OF_BOUNDS),
    ("status that quotes an error", _record(status='"Expected `str`, got `int`"'), Reason.OUT_OF_BOUNDS),
    ("number as status", _record(status="200"), Reason.WRONG_TYPE),
    ("object as error", _record(error='{"code":1}'), Reason.WRONG_TYPE),
    ("bad UTF-8 in the features", _record(features='{"a":"@"}').replace(b"@", b"\xff"), Reason.BAD_UTF8),
]

ODD_BUT_GOOD: list[tuple[str, bytes]] = [
    ("duplicate keys", b'{"request_id":"r-0",' + _GOOD[1:]),
    ("64 levels", nested(64)),
    ("64 levels of objects", _nested_objects(64)),
    ("a thousand lists side by side", _record(extra="[" + ",".join(["[]"] * 1_000) + "]")),
    ("brackets in a string", _record(extra='"' + "[" * 500 + r"\"" + "{" * 500 + '"')),
    ("exactly a mebibyte", _GOOD + b" " * (_MEBIBYTE - len(_GOOD))),
    ("white space around", b"\r\n\t " + _GOOD + b" \n"),
    ("escaped NUL in the id", _record(request_id=r'"a\u0000b"')),
    ("emoji by surrogate pair", _record(request_id=r'"\ud83d\ude00"')),
    ("request id of 256 bytes", _record(request_id=f'"{"ü" * 128}"')),
    ("class of 128 bytes", _answer(f'"{"x" * 128}"')),
    ("empty class", _answer('""')),
    ("class with a separator", _answer(r'"a|b\u001fc"')),
    ("largest instance", _record(instance=str(2**31 - 1))),
    ("nulls for everything optional", _record(**dict.fromkeys(("instance", "event_time", "source", "error"), "null"))),
    ("wrong types in unknown fields", _record(timestamp="[1]", id="{}", ts="1e400", huge="9" * 5_000)),
    ("nanoseconds at a window's edge", _time("2026-11-23T12:04:59.999999999Z")),
    ("thirty digits of a second", _time("2026-11-23T12:04:59." + "9" * 30 + "Z")),
    ("lower-case time", _time("2026-11-23t12:00:00z")),
    ("the first instant of 2000", _time("2000-01-01T01:00:00+01:00")),
    ("unknown local offset", _time("2026-11-23T12:00:00-00:00")),
    ("list of answers", _answer('["a",1,true,0.5]')),
    ("empty list of answers", _answer("[]")),
]
