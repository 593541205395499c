"""From explanations of one window to its report: samples, features, figures, and whether it is news."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np

from schemas.attribution_report import (
    AttributionReport,
    AttributionSample,
    FeatureAttribution,
    FeatureDifference,
    FeatureShare,
    Interval,
)
from schemas.codec import cloud_event_headers, encode
from schemas.times import format_time, parse_time_ms
from schemas.window_report import Metric, Window, event_id, report_key
from streams.explanation.attribution_definitions import (
    DRIFT,
    ERROR_DIFFERENCE,
    LEAST_EXPLAINED,
    RANK_CORRELATION,
    AttributionReason,
)
from streams.explanation.attribution_figures import (
    Estimates,
    WeighedSample,
    normalised_difference,
    rank_correlation,
    welch,
)
from streams.explanation.attribution_progress import AttributionWindow
from streams.explanation.attribution_sample import Cell, Sample
from streams.monitored_model import MonitoredModel
from streams.ports import LastReport, OutgoingMessage
from streams.windows import WindowStatus

__all__ = [
    "AttributionTerms",
    "can_be_compared",
    "report_on",
    "revised",
]

MOST_FEATURES = 100
"""In a report."""
_AS_SENT: Mapping[WindowStatus, Literal["open", "provisional", "final"]] = {
    WindowStatus.OPEN: "open",
    WindowStatus.PROVISIONAL: "provisional",
    WindowStatus.FINAL: "final",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AttributionTerms:
    """Where reports go, how they name their sender and the settings they depend on, and how they are made."""

    topic: str
    source: str
    config_hash: str
    confidence_level: float


def can_be_compared(report: AttributionReport) -> bool:
    """Whether later windows may be compared with it: its base sample is in, and large enough."""
    return report.status != "open" and report.base.explained >= LEAST_EXPLAINED


def report_on(
    window: AttributionWindow,
    cells: Sequence[Cell],
    before: AttributionReport | None,
    *,
    model: MonitoredModel,
    model_version: str,
    status: WindowStatus,
    terms: AttributionTerms,
) -> AttributionReport:
    """The content of a report, without revision, id and time.

    Args:
        cells: of all base windows in it that have any explanation.
        before: the last window before it that can be compared.
    """
    rows = {sample: [row for cell in cells for row in cell.samples[sample].weighed()] for sample in Sample}
    names = sorted({name for each in rows.values() for row in each for name in row.shares or ()})
    samples = {sample: WeighedSample.of(rows[sample], names) for sample in Sample}
    features = _features(names, samples, terms.confidence_level)
    figures = _figures(names, samples, before, terms.confidence_level)
    return AttributionReport(
        model=model.name,
        model_version=model_version,
        segment={},
        window=Window.of(window.start_ms, window.size_ms),
        status=_AS_SENT[status],
        revision=0,
        event_id="",
        wrong=_sample(samples[Sample.WRONG]),
        base=_sample(samples[Sample.BASE]),
        features=tuple(features[:MOST_FEATURES]),
        features_left_out=max(0, len(features) - MOST_FEATURES),
        compared_with=None if before is None else before.window,
        metrics={name: metric for name, (metric, _) in figures.items()},
        undefined={name: str(reason) for name, (_, reason) in figures.items() if reason is not None},
        config_hash=terms.config_hash,
        produced_at="",
    )


def revised(
    content: AttributionReport, last: LastReport | None, *, watermark_ms: int, now_ms: int, terms: AttributionTerms
) -> tuple[OutgoingMessage, LastReport] | None:
    """The report to publish and, once it is acknowledged, to keep; None if it says what the last one said."""
    key = report_key(
        kind="attribution",
        model=content.model,
        model_version=content.model_version,
        segment={},
        window_seconds=content.window.size_seconds,
        window_start_ms=parse_time_ms(content.window.start),
    )
    identity = event_id(key, msgspec.to_builtins(content))
    if last is not None and _identity(last.value).event_id == identity:
        return None
    revision = now_ms if last is None else max(last.revision + 1, now_ms)
    value = encode(
        msgspec.structs.replace(content, revision=revision, event_id=identity, produced_at=format_time(now_ms))
    )
    headers = cloud_event_headers("report", event_id=identity, source=terms.source, time_ms=now_ms)
    return (
        OutgoingMessage(topic=terms.topic, key=key, value=value, headers=headers),
        LastReport(key=key, value=value, revision=revision, published_ms=now_ms, watermark_ms=watermark_ms, due_ms=0),
    )


class _Identity(msgspec.Struct, frozen=True):
    event_id: str


_identity = msgspec.json.Decoder(_Identity).decode


def _sample(sample: WeighedSample) -> AttributionSample:
    return AttributionSample(
        explained=sample.explained,
        failed=sample.failed,
        stands_for=float(sample.weights.sum()),
        effective=sample.signed().size if sample.explained else None,
        stability=sample.stability,
    )


def _features(
    names: Sequence[str], samples: Mapping[Sample, WeighedSample], confidence_level: float
) -> list[FeatureAttribution]:
    shares = {sample: _shares(of, len(names)) for sample, of in samples.items()}
    differences = _differences(samples, len(names), confidence_level)
    found = [
        FeatureAttribution(feature=name, wrong=wrong, base=base, difference=difference)
        for name, wrong, base, difference in zip(
            names, shares[Sample.WRONG], shares[Sample.BASE], differences, strict=True
        )
    ]
    return sorted(found, key=_size, reverse=True)


def _size(each: FeatureAttribution) -> tuple[float, float]:
    return each.base.mean_absolute if each.base else 0.0, each.wrong.mean_absolute if each.wrong else 0.0


def _shares(sample: WeighedSample, features: int) -> Sequence[FeatureShare | None]:
    if not sample.explained:
        return [None] * features
    signed, absolute, naming = sample.signed(), sample.absolute(), sample.naming()
    errors = [None] * features if absolute.errors is None else absolute.errors.tolist()
    return [
        FeatureShare(mean=mean, mean_absolute=mean_absolute, standard_error=error, named=named)
        for mean, mean_absolute, error, named in zip(
            signed.means.tolist(), absolute.means.tolist(), errors, naming.tolist(), strict=True
        )
    ]


def _differences(
    samples: Mapping[Sample, WeighedSample], features: int, confidence_level: float
) -> Sequence[FeatureDifference | None]:
    wrong, base = samples[Sample.WRONG], samples[Sample.BASE]
    if not wrong.explained or not base.explained:
        return [None] * features
    signed = _intervals(wrong.signed(), base.signed(), confidence_level)
    absolute = _intervals(wrong.absolute(), base.absolute(), confidence_level)
    return [
        FeatureDifference(mean=mean, mean_absolute=mean_absolute)
        for mean, mean_absolute in zip(signed, absolute, strict=True)
    ]


def _intervals(one: Estimates, other: Estimates, confidence_level: float) -> list[Interval]:
    differences = (one.means - other.means).tolist()
    ends = welch(one, other, confidence_level=confidence_level)
    if ends is None:
        return [Interval(difference, None, None) for difference in differences]
    return [Interval(*each) for each in zip(differences, ends[0].tolist(), ends[1].tolist(), strict=True)]


_Figure = tuple[Metric, AttributionReason | None]


def _figures(
    names: Sequence[str],
    samples: Mapping[Sample, WeighedSample],
    before: AttributionReport | None,
    confidence_level: float,
) -> Mapping[str, _Figure]:
    wrong, base = samples[Sample.WRONG], samples[Sample.BASE]
    fewest, n = min(wrong.explained, base.explained), base.explained
    figures: dict[str, _Figure] = {
        ERROR_DIFFERENCE: _undefined(fewest, AttributionReason.TOO_FEW_EXPLANATIONS),
        DRIFT: _undefined(n, AttributionReason.TOO_FEW_EXPLANATIONS),
        RANK_CORRELATION: _undefined(n, AttributionReason.TOO_FEW_EXPLANATIONS),
    }
    if fewest >= LEAST_EXPLAINED:
        found = normalised_difference(wrong.absolute(), base.absolute(), confidence_level=confidence_level)
        figures[ERROR_DIFFERENCE] = _figure(found, fewest, AttributionReason.NO_ATTRIBUTION)
    if n >= LEAST_EXPLAINED and before is None:
        figures[DRIFT] = figures[RANK_CORRELATION] = _undefined(n, AttributionReason.NO_EARLIER_WINDOW)
    elif n >= LEAST_EXPLAINED and before is not None:
        now, then = _alike(names, base.absolute(), before)
        drift = normalised_difference(now, then, confidence_level=confidence_level)
        order = rank_correlation(now, then, confidence_level=confidence_level)
        figures[DRIFT] = _figure(drift, n, AttributionReason.NO_ATTRIBUTION)
        figures[RANK_CORRELATION] = _figure(order, n, AttributionReason.TOO_FEW_FEATURES)
    return figures


def _figure(found: tuple[float, float, float] | None, n: int, otherwise: AttributionReason) -> _Figure:
    if found is None:
        return _undefined(n, otherwise)
    value, low, high = found
    return Metric(value=value, low=low, high=high, n=n), None


def _undefined(n: int, reason: AttributionReason) -> _Figure:
    return Metric(value=None, low=None, high=None, n=n), reason


def _alike(names: Sequence[str], now: Estimates, before: AttributionReport) -> tuple[Estimates, Estimates]:
    """Both over the same features: those that either has, in one order."""
    then = {each.feature: each.base for each in before.features if each.base is not None}
    added = [name for name in then if name not in set(names)]
    errors = now.errors
    return (
        Estimates(
            np.append(now.means, np.zeros(len(added))),
            None if errors is None else np.append(errors, np.zeros(len(added))),
            now.size,
        ),
        Estimates(
            np.array([then[name].mean_absolute if name in then else 0.0 for name in (*names, *added)]),
            np.array([then[name].standard_error or 0.0 if name in then else 0.0 for name in (*names, *added)]),
            before.base.effective or 1.0,
        ),
    )
