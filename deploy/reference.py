"""The tables of `deploy/guides/reference.md`, generated from the code that they describe.

    python -m deploy.reference

Text between `<!-- table: NAME -->` and `<!-- end -->` is replaced; everything else is written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from agents.__main__ import COMMANDS
from agents.settings_listing import settings_table
from agents.show.drawing import REASONS
from schemas.errors import MEANINGS
from schemas.explanation import FAILURES, NOTES
from schemas.topics import TOPICS
from streams.ledger.fates import LABEL_MEANINGS, PREDICTION_MEANINGS
from streams.metric_definitions import METRIC_DEFINITIONS
from streams.stability.resource_figures import RESOURCE_REASONS
from streams.stability.resource_series import SAMPLE_FATES

__all__ = ["PAGE", "with_tables"]

PAGE = Path(__file__).parent / "guides/reference.md"
MARKED = re.compile(r"(<!-- table: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def with_tables(page: str) -> str:
    """The page with every table as the code says now.

    Raises: KeyError for a table that there is not.
    """
    return MARKED.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n{found[3]}", page)


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _topics() -> str:
    heads = ("Role", "Default name", "Key", "Value", "Written by", "Read by", "Settings")
    return _table(
        heads,
        (
            (
                f"`{topic.role}`",
                f"`{topic.default_name}`",
                topic.key,
                topic.schema,
                ", ".join(topic.producers),
                ", ".join(topic.consumers),
                ", ".join(f"`{name}={value}`" for name, value in topic.config.items()),
            )
            for topic in TOPICS.values()
        ),
    )


def _meanings(head: str, meanings: Mapping[str, str]) -> str:
    return _table((head, "Meaning"), ((f"`{name}`", meaning) for name, meaning in meanings.items()))


def _metrics() -> str:
    return _table(
        ("Metric", "Tasks", "Meaning", "Better", "Interval"),
        (
            (f"`{name}`", ", ".join(each.tasks), each.meaning, each.better, each.interval)
            for name, each in METRIC_DEFINITIONS.items()
        ),
    )


TABLES: Mapping[str, Callable[[], str]] = {
    "commands": lambda: _meanings("`latelabel` …", COMMANDS),
    "topics": _topics,
    "reasons": lambda: _meanings("`latelabel-reason`", {str(reason): text for reason, text in MEANINGS.items()}),
    "prediction-fates": lambda: _meanings(
        "Prediction", {str(fate): text for fate, text in PREDICTION_MEANINGS.items()}
    ),
    "label-fates": lambda: _meanings("Label", {str(fate): text for fate, text in LABEL_MEANINGS.items()}),
    "metrics": _metrics,
    "undefined": lambda: _meanings(
        "`undefined`", {str(reason): text for reason, text in (*REASONS.items(), *RESOURCE_REASONS.items())}
    ),
    "sample-fates": lambda: _meanings("Sample", {str(fate): text for fate, text in SAMPLE_FATES.items()}),
    "explain-failures": lambda: _meanings("`failure`", {str(reason): text for reason, text in FAILURES.items()}),
    "explain-notes": lambda: _meanings("`notes`", {str(note): text for note, text in NOTES.items()}),
    "settings": settings_table,
}

if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text()))
