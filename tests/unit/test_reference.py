"""The tables of the reference are current and leave nothing out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deploy.reference import EXPORTED, PAGE, with_tables
from schemas.errors import MEANINGS, Reason
from streams.ledger.fates import LABEL_MEANINGS, PREDICTION_MEANINGS, LabelFate, PredictionFate
from streams.monitored_model import MonitoredModel, Task
from streams.quality.definitions import DEFINITIONS
from tests.support.fleet import report_on

ROOT = Path(__file__).resolve().parents[2]


def test_tables_are_what_the_code_says() -> None:
    page = PAGE.read_text()
    assert page == with_tables(page), "run `make schemas`"


def test_table_that_there_is_not_is_an_error() -> None:
    with pytest.raises(KeyError, match="nonsense"):
        with_tables("<!-- table: nonsense -->\n<!-- end -->")


def test_every_reason_and_every_fate_has_a_meaning() -> None:
    assert list(Reason) == list(MEANINGS)
    assert list(PredictionFate) == list(PREDICTION_MEANINGS)
    assert list(LabelFate) == list(LABEL_MEANINGS)


def test_every_module_that_exports_metrics_is_in_the_table() -> None:
    modules = [path for path in (ROOT / "agents").rglob("*.py") if re.search(r"\byield Metric\(", path.read_text())]
    assert {str(path.relative_to(ROOT)) for path in modules} == EXPORTED.keys()
    names = [name for path in modules for name in re.findall(r'Metric\(\s*"(\w+)"', path.read_text())]
    assert [] == [name for name in names if f"| `{name}` |" not in PAGE.read_text()]


@pytest.mark.parametrize("task", Task)
def test_every_metric_of_a_task_is_defined_and_no_other(task: Task) -> None:
    reported = report_on(MonitoredModel(name="any", task=task), {}).metrics
    defined = {name for name, definition in DEFINITIONS.items() if task in definition.tasks}
    # Reports of models with many classes name metrics of scores too, to say why there are none.
    unavailable = {"roc_auc", "average_precision", "log_loss", "brier"} if task is Task.MULTICLASS else set()
    assert defined == reported.keys() - unavailable
