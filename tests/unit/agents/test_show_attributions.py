"""What `latelabel show MODEL` draws of attributions, to the character."""

from __future__ import annotations

import msgspec
from rich.text import Text

from agents.show.attributions import attribution_lines, attribution_window
from schemas.attribution_report import AttributionReport
from streams.identity import model_version_hash, model_version_name
from streams.ports import LastReport
from tests.support.publishing import FakeReports
from tests.unit.schemas.test_examples import EXAMPLES

VERSION = model_version_hash("fraud", "3")
EXAMPLE = (EXAMPLES / "model-metrics/valid/attribution.json").read_bytes()
REPORT = msgspec.json.decode(EXAMPLE, type=AttributionReport)


def plain(lines: list[Text]) -> str:
    return "\n".join(line.plain for line in lines) + "\n"


SCREEN = """\
what decided, 5m from 2026-11-23 12:00 UTC, labels due: 41 wrong, 37 in general
feature  where wrong   size  in general   size  wrong less general
amount        -0.307  0.307      +0.374  0.374  -0.681 [-0.722, -0.640]
country       +0.208  0.208      +0.204  0.204  +0.004 [-0.039, +0.047]
age           -0.120  0.128      -0.137  0.139  +0.017 [-0.021, +0.055]
wrong predictions are decided differently: 0.044 [0.000, 0.109]
differently than before: 0.026 [0.000, 0.083]
order of features as before: 1.000 [1.000, 1.000]
"""


def test_features_with_their_differences_and_what_differs_from_before() -> None:
    lines = list(attribution_lines(REPORT, 100))
    assert SCREEN == plain(lines)
    assert ["yellow", "", ""] == [str(line.style) for line in lines[2:5]]


async def test_window_that_compares_is_shown_before_a_newer_one_that_does_not() -> None:
    store = FakeReports()
    few = msgspec.structs.replace(
        REPORT,
        metrics={name: msgspec.structs.replace(each, value=None) for name, each in REPORT.metrics.items()},
        undefined=dict.fromkeys(REPORT.metrics, "too_few_explanations"),
    )
    assert None is await attribution_window(store, VERSION, size_seconds=300)
    for start, report in (("12:10", few), ("12:05", REPORT), ("12:00", few)):
        key = f'["attribution","fraud","3",{{}},300,"2026-11-23T{start}:00Z"]'.encode()
        last = LastReport(
            key=key, value=msgspec.json.encode(report), revision=1, published_ms=0, watermark_ms=0, due_ms=0
        )
        await store.keep(VERSION, model_version_name("fraud", "3"), [last])
    shown = await attribution_window(store, VERSION, size_seconds=300)
    assert shown is not None
    assert REPORT == shown.report
    told = plain(list(attribution_lines(few, 100)))
    assert "differently than before: - (fewer than 20 explanations in a sample)\n" in told


def test_long_and_strange_names_and_many_features_fit() -> None:
    wide = msgspec.structs.replace(REPORT.features[0], feature="\x1b[2Jé" + "x" * 300)
    lines = list(attribution_lines(msgspec.structs.replace(REPORT, features=(wide,) * 20, features_left_out=5), 100))
    assert all("\x1b" not in line.plain for line in lines)
    assert "17 more features" in plain(lines)
    nothing = msgspec.structs.replace(REPORT.features[0], wrong=None, difference=None)
    bare = plain(list(attribution_lines(msgspec.structs.replace(REPORT, features=(nothing,)), 100)))
    assert " - " in bare
