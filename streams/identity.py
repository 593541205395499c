"""How names and request ids become fixed-width bytes.

Names (models, versions, classes, segment values) travel inside as 64-bit hashes. Nothing is allocated, so
nothing can be allocated twice after a rollback; the table hash -> name is written beside the counts.
Request ids become 16 bytes, and the shard of a record is a function of those 16 bytes alone:

    >>> request_key("0009174a-24a8-4603-b098-09c8799950e9").hex()
    '0009174a24a84603b09809c8799950e9'
    >>> request_key("order-17") == request_key("order-17", 1)
    False
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import orjson

__all__ = [
    "ABSENT",
    "ANY_LABEL",
    "EVERYTHING",
    "FAILED",
    "HASH_BYTES",
    "KEY_BYTES",
    "OTHER",
    "OTHER_WRONG",
    "SUM",
    "class_hash",
    "items_hash",
    "model_hash",
    "model_version_hash",
    "model_version_name",
    "registry_group",
    "request_key",
    "request_keys",
    "segment_hash",
    "segment_name",
    "shard_of",
    "shards_of",
    "signal_hash",
]

HASH_BYTES = 8
KEY_BYTES = 16

ABSENT = bytes(HASH_BYTES)
"""In a cell: no label. In a label: addressed to every model."""
EVERYTHING = bytes(HASH_BYTES)
"""The slice `{}` that every prediction belongs to."""
FAILED = b"\xff" * HASH_BYTES
"""In the place of a cell's label: predictions whose status is not `ok`."""

SUM = b"+"
"""In the place of a cell's label: the count is a sum of `streams.pair_sums`, and the cell's prediction its name."""

_CANONICAL_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_UUID = "00000000-0000-0000-0000-000000000000"
_UUID_HYPHENS = [at for at, character in enumerate(_UUID) if character == "-"]
_UUID_GROUPS = [slice(first, end) for first, end in itertools.pairwise([0, 8, 12, 16, 20, 32])]
"""Of the digits alone, which stand between two hyphens."""
_NO_DIGIT, _HYPHEN = 0xFF, 0xFE
_HEX_DIGIT = bytearray([_NO_DIGIT] * 256)
"""By character, what a lower-case hexadecimal digit is worth."""
for _worth, _character in enumerate(b"0123456789abcdef"):
    _HEX_DIGIT[_character] = _worth
_HEX_DIGIT[ord("-")] = _HYPHEN
_MIX = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


@functools.lru_cache(maxsize=65_536)
def _hash(kind: bytes, text: str) -> bytes:
    return _reserved_apart(hashlib.blake2b(text.encode(), digest_size=HASH_BYTES, person=kind).digest())


def _reserved_apart(digest: bytes) -> bytes:
    # The two reserved values mean something else; a name that hashes to one is moved by one bit.
    return digest if digest not in (ABSENT, FAILED) else digest[:-1] + bytes([digest[-1] ^ 1])


def model_hash(model: str) -> bytes:
    """The 8 bytes that a label addressed to `model` carries."""
    return _hash(b"model", model)


def model_version_name(model: str, version: str) -> str:
    """The text kept in the name table for a model version: a JSON array of both."""
    return orjson.dumps((model, version)).decode()


def model_version_hash(model: str, version: str) -> bytes:
    """The 8 bytes under which a model version's cells are counted."""
    return _hash(b"model_version", model_version_name(model, version))


def class_hash(text: str) -> bytes:
    """The 8 bytes of a class name."""
    return _hash(b"class", text)


def signal_hash(name: str) -> bytes:
    """The 8 bytes of the name of a signal."""
    return _hash(b"signal", name)


def items_hash(items: Sequence[bytes]) -> bytes:
    """The 8 bytes of a list of class names, given by their hashes; another order is another list."""
    return _reserved_apart(hashlib.blake2b(b"".join(items), digest_size=HASH_BYTES, person=b"items").digest())


def segment_name(segment: Mapping[str, str]) -> str:
    """The text kept in the name table for a slice: a JSON object with sorted names."""
    return orjson.dumps(segment, option=orjson.OPT_SORT_KEYS).decode()


def segment_hash(segment: Mapping[str, str]) -> bytes:
    """The 8 bytes of a slice; `{}` is `EVERYTHING`."""
    return _hash(b"segment", segment_name(segment)) if segment else EVERYTHING


def registry_group(*parts: str) -> bytes:
    """The 8 bytes of a list of names with a limit, such as the classes of one model."""
    return _hash(b"group", orjson.dumps(parts).decode())


ANY_LABEL = class_hash("*")
"""In the place of a cell's label where classes are not counted: some label came."""
OTHER = class_hash("__other__")
OTHER_WRONG = class_hash("__other_wrong__")


def request_key(request_id: str, instance: int = 0) -> bytes:
    """The 16 bytes of a canonical lower-case UUID with instance 0, else a 128-bit hash of both."""
    if instance == 0 and len(request_id) == 36 and _CANONICAL_UUID.fullmatch(request_id):
        return bytes.fromhex(request_id.replace("-", ""))
    text = b"%d:%s" % (instance, request_id.encode())
    return hashlib.blake2b(text, digest_size=KEY_BYTES, person=b"request").digest()


def request_keys(request_ids: Sequence[str], instances: Sequence[int | None]) -> bytes:
    """The keys of many requests behind each other; no instance is instance 0."""
    keys = np.empty((len(request_ids), KEY_BYTES), dtype=np.uint8)
    joined = "".join(request_ids)
    others: Sequence[int] = range(len(request_ids))
    if set(map(len, request_ids)) == {len(_UUID)} and joined.isascii():
        texts = np.frombuffer(joined.encode().translate(_HEX_DIGIT), dtype=np.uint8).reshape(-1, len(_UUID))
        digits = np.empty((len(texts), 2 * KEY_BYTES), dtype=np.uint8)
        for hyphens, group in enumerate(_UUID_GROUPS):
            digits[:, group] = texts[:, group.start + hyphens : group.stop + hyphens]
        pairs = digits.view("<u2")
        keys[:] = pairs << 4 | pairs >> 8
        is_other = (texts[:, _UUID_HYPHENS] != _HYPHEN).any(axis=1)
        if digits.max() > 0xF:
            is_other |= (digits > 0xF).any(axis=1)
        if instances.count(None) < len(instances):
            is_other |= [bool(instance) for instance in instances]
        others = np.flatnonzero(is_other).tolist()
    for index in others:
        keys[index] = np.frombuffer(request_key(request_ids[index], instances[index] or 0), dtype=np.uint8)
    return keys.tobytes()


def shard_of(key: bytes, *, shards: int) -> int:
    """The shard of one request key, from a mix of all its bytes.

    >>> all(0 <= shard_of(bytes([i] * 16), shards=8) < 8 for i in range(256))
    True
    """
    high, low = int.from_bytes(key[:8], "big"), int.from_bytes(key[8:], "big")
    mixed = ((high ^ (low * _MIX & _MASK)) * _MIX) & _MASK
    return (mixed >> 32) * shards >> 32


def shards_of(keys: bytes, *, shards: int) -> npt.NDArray[np.int64]:
    """The shards of many request keys, `keys` being their concatenation."""
    words = np.frombuffer(keys, dtype=">u8").astype(np.uint64).reshape(-1, 2)
    mix = np.uint64(_MIX)
    mixed = (words[:, 0] ^ (words[:, 1] * mix)) * mix
    return ((mixed >> np.uint64(32)) * np.uint64(shards) >> np.uint64(32)).astype(np.int64)
