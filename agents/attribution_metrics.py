"""What a worker counts about the explanations it reads, under Prometheus' names."""

from __future__ import annotations

from collections.abc import Iterator

from agents.attribution_intake import AttributionIntake
from agents.exposition import Kind, Metric
from agents.side_reading import SideReading
from streams.explanation.attribution_sample import ExplanationFate

__all__ = ["attribution_metrics"]


def attribution_metrics(reading: SideReading[AttributionIntake] | None) -> Iterator[Metric]:
    """All of them, as they stand now; each is there from the first time on. None: no model is explained."""
    yield Metric(
        "latelabel_attributions_total",
        Kind.COUNTER,
        "Explanations read for reports on attribution, by what became of them.",
        {(("fate", str(fate)),): 0 if reading is None else reading.intake.fates[fate] for fate in ExplanationFate},
    )
    yield Metric(
        "latelabel_attribution_reading",
        Kind.GAUGE,
        "1 while explanations are read; 0 also if no model is explained.",
        int(reading is not None and reading.is_reading),
    )
