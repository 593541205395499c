"""Whether this installation reads every codec that a producer may choose."""

from __future__ import annotations

from collections.abc import Mapping

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from agents.doctor.finding import Finding, Verdict
from agents.guarded_records import GuardedRecords

__all__ = ["check_codecs"]

_SAMPLE = b'{"request_id": "r1"}' * 20
_CODECS: Mapping[str, int] = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
"""As Kafka numbers them."""


def check_codecs() -> Finding:
    """Pack a record in each codec and read it as workers read those of topics."""
    failures = [f"{name}: {why}" for name, codec in _CODECS.items() if (why := _failure(codec))]
    if not failures:
        return Finding(check="codecs", verdict=Verdict.OK, found=f"{', '.join(_CODECS)} are read")
    return Finding(
        check="codecs",
        verdict=Verdict.FAILED,
        found="; ".join(failures),
        remedy="install cramjam and aiokafka again, in the versions of requirements.txt: whatever comes in these codecs"
        " would go to the dead letters",
    )


def _failure(codec: int) -> str:
    """Why a batch of the codec is not read; empty if it is."""
    try:
        builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 20)
        builder.append(0, 0, None, _SAMPLE, [])
        values = [record.value for record in GuardedRecords(bytes(builder.build())).next_batch()]
    # Whatever a broken library raises is what has to be told.
    except Exception as error:  # noqa: BLE001
        return f"{error}" or type(error).__name__
    return "" if [_SAMPLE] == values else b"; ".join(values).decode(errors="replace")
