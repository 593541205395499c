"""Early labels are biased: the same rule about a year of flights, told by final reports after 1 hour to 2 days."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agents.demo.flights import Flight, read_flights
from deploy.servers import RedisServer
from schemas.window_report import WindowReport
from tests.bench.early_labels import EXTRACT, HORIZONS, PAGE, YEAR_SECONDS, final_reports, positive_rate, with_table
from tests.support.redis_ledgers import connected
from tests.support.services import unique_name

PUBLISHED = {
    "1 h": (0.131, 0.050, 0.690, 0.364),
    "2 h": (0.388, 0.126, 0.705, 0.368),
    "3 h": (0.652, 0.175, 0.692, 0.366),
    "4 h": (0.773, 0.209, 0.680, 0.382),
    "6 h": (0.939, 0.220, 0.672, 0.404),
    "12 h": (0.972, 0.237, 0.668, 0.414),
    "2 d": (0.972, 0.237, 0.668, 0.414),
}
"""Coverage, positive rate, accuracy and recall, as counted once with pandas from the whole data set."""
ALL_LABELS = "2 d"


def recount(flights: list[Flight], hours: int) -> tuple[float, float, float, float]:
    """The same four figures to full precision."""
    within = timedelta(hours=hours)
    pairs = [
        (bool(flight.arrives_late), flight.scheduled_departure.hour >= 17)
        for flight in flights
        if flight.landing is not None and flight.landing - flight.scheduled_departure <= within
    ]
    late = sum(label for label, _ in pairs)
    right = sum(label == said for label, said in pairs)
    found = sum(label and said for label, said in pairs)
    return len(pairs) / len(flights), late / len(pairs), right / len(pairs), found / late


def figures(report: WindowReport) -> tuple[float | None, ...]:
    """Those four of a report."""
    return (
        report.coverage,
        positive_rate(report),
        report.metrics["accuracy"].value,
        report.metrics["recall"].value,
    )


@pytest.mark.timeout(600)
async def test_final_reports_of_each_horizon_give_the_table_of_the_guide_and_every_row_allows_the_last(
    redis_server: RedisServer,
) -> None:
    flights = read_flights(EXTRACT)
    async with connected(redis_server.unix_url) as client:
        reports = await final_reports(client, flights, prefix=unique_name("early"))
    assert {"final"} == {report.status for report in reports}

    years = {report.model: report for report in reports if report.window.size_seconds == YEAR_SECONDS}
    assert {name: recount(flights, hours) for name, hours in HORIZONS.items()} == {
        name: pytest.approx(figures(report), abs=1e-12) for name, report in years.items()
    }
    assert {name: pytest.approx(row, abs=0.001) for name, row in PUBLISHED.items()} == {
        name: figures(report) for name, report in years.items()
    }

    ends = {
        (report.window.size_seconds, report.window.start): report for report in reports if report.model == ALL_LABELS
    }
    assert len(HORIZONS) * len(ends) == len(reports)
    for report in reports:
        end = ends[report.window.size_seconds, report.window.start]
        for name in ("accuracy", "recall", "precision", "specificity", "f1", "balanced_accuracy", "mcc", "cohen_kappa"):
            at_the_end, possible = end.metrics[name].value, report.metrics[name].possible
            if at_the_end is not None:
                assert isinstance(possible, tuple), (report.model, report.window, name)
                assert possible[0] - 1e-12 <= at_the_end <= possible[1] + 1e-12, (report.model, report.window, name)

    page = PAGE.read_text()
    assert with_table(page, years) == page
