"""The tables of `deploy/guides/reference.md`, generated from the code that they describe.

    python -m deploy.reference

Text between `<!-- table: NAME -->` and `<!-- end -->` is replaced; everything else is written by hand.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from agents.__main__ import COMMANDS
from agents.settings_listing import settings_table
from agents.show.drawing import REASONS
from schemas.errors import MEANINGS
from schemas.explanation import FAILURES, NOTES
from schemas.topics import TOPICS
from streams.explanation.attribution_definitions import ATTRIBUTION_REASONS
from streams.explanation.attribution_sample import EXPLANATION_FATES
from streams.ledger.fates import LABEL_MEANINGS, PREDICTION_MEANINGS
from streams.metric_definitions import METRIC_DEFINITIONS
from streams.signals.definitions import SIGNAL_DEFINITIONS, metric_of
from streams.stability.resource_figures import RESOURCE_REASONS
from streams.stability.resource_series import SAMPLE_FATES
from streams.stability.system_figures import SYSTEM_REASONS

__all__ = ["EXPORTED", "PAGE", "with_tables"]

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "deploy/guides/reference.md"
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


def _signals() -> str:
    return _table(
        ("Metric", "Meaning", "Interval"),
        ((f"`{metric_of('NAME', name)}`", each.meaning, each.interval) for name, each in SIGNAL_DEFINITIONS.items()),
    )


EXPORTED = {
    "agents/worker_metrics.py": "worker",
    "agents/alert_metrics.py": "worker",
    "agents/process_metrics.py": "worker",
    "agents/resource_metrics.py": "worker",
    "agents/explain_asking.py": "worker",
    "agents/attribution_metrics.py": "worker",
    "agents/alert_forwarding.py": "alerts forward",
    "agents/explainer/service.py": "explainer",
    "agents/explainer/outcome_tally.py": "explainer",
}
"""Which command exports the metrics of a module."""


def _exported() -> str:
    """What stands in every `Metric(name, Kind.KIND, help, ...)` of those modules."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for module, command in EXPORTED.items():
        for node in ast.walk(ast.parse((ROOT / module).read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Metric":
                name, kind, meaning = (ast.unparse(argument) for argument in node.args[:3])
                row = (ast.literal_eval(name), kind.rpartition(".")[2].lower(), ast.literal_eval(meaning))
                rows.setdefault(row, []).append(command)
    return _table(
        ("Metric", "Type", "Of", "Meaning"),
        (
            (f"`{name}`", kind, ", ".join(f"`{command}`" for command in commands), meaning)
            for (name, kind, meaning), commands in sorted(rows.items())
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
    "signals": _signals,
    "undefined": lambda: _meanings(
        "`undefined`",
        {
            str(reason): text
            for reasons in (REASONS, RESOURCE_REASONS, SYSTEM_REASONS, ATTRIBUTION_REASONS)
            for reason, text in reasons.items()
        },
    ),
    "sample-fates": lambda: _meanings("Sample", {str(fate): text for fate, text in SAMPLE_FATES.items()}),
    "explanation-fates": lambda: _meanings(
        "Explanation", {str(fate): text for fate, text in EXPLANATION_FATES.items()}
    ),
    "explain-failures": lambda: _meanings("`failure`", {str(reason): text for reason, text in FAILURES.items()}),
    "explain-notes": lambda: _meanings("`notes`", {str(note): text for note, text in NOTES.items()}),
    "exported": _exported,
    "settings": settings_table,
}

if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text()))
