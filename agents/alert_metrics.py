"""What a worker tells about the alerts that it looks after, under Prometheus' names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agents.exposition import Kind, Metric

__all__ = ["alert_metrics"]


def alert_metrics(firing: Mapping[tuple[str, str], int]) -> Iterator[Metric]:
    """All of them, each rule's from the first time on.

    Args:
        firing: how many alerts fire by name and severity, of `streams.alerting.firing`.
    """
    yield Metric(
        "latelabel_alerts_firing",
        Kind.GAUGE,
        "Alerts of rules that fire, of the models that this worker evaluates; 0 for each rule that is silent.",
        {(("alertname", alert), ("severity", severity)): count for (alert, severity), count in firing.items()},
    )
