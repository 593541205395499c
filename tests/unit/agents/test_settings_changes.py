"""What a running worker takes over of a changed configuration, and what it says about the rest."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from agents.settings import KafkaSettings, Settings
from agents.settings_changes import adopt
from agents.settings_fields import Applies
from agents.settings_listing import settings_rows
from streams.explanation.terms import ExplainTerms
from streams.monitored_model import DAY_MS, HOUR_MS, MINUTE_MS, LabelPolicy, MonitoredModel, Task

FRAUD = MonitoredModel(name="fraud", task=Task.BINARY, positive_class="fraud")
RUNNING = Settings(models=(FRAUD,))


def with_fraud(**fields: Any) -> Settings:
    return dataclasses.replace(RUNNING, models=(dataclasses.replace(FRAUD, **fields),))


def test_what_may_change_at_once_is_taken_and_the_rest_is_named_with_what_it_needs() -> None:
    now = dataclasses.replace(
        RUNNING,
        evaluation_interval_ms=1000,
        kafka=KafkaSettings(group="other"),
        models=(dataclasses.replace(FRAUD, positive_class="ok", label_horizon_ms=HOUR_MS),),
    )
    adoption = adopt(RUNNING, now)
    taken = dataclasses.replace(FRAUD, positive_class="ok")
    assert dataclasses.replace(RUNNING, evaluation_interval_ms=1000, models=(taken,)) == adoption.settings
    assert ["evaluation_interval", "models[fraud].positive_class"] == [change.path for change in adoption.adopted]
    assert [
        f"kafka.group stays as it is: a change applies {Applies.RESTART}",
        f"models[fraud].label_horizon stays as it is: a change applies {Applies.LATER_WINDOWS}",
    ] == list(map(str, adoption.refused))


def test_the_same_configuration_changes_nothing() -> None:
    adoption = adopt(RUNNING, with_fraud())
    assert (RUNNING, (), ()) == (adoption.settings, adoption.adopted, adoption.refused)


@pytest.mark.parametrize(
    "fields",
    [
        {"report_windows_ms": (5 * MINUTE_MS, DAY_MS)},
        {"task": Task.MULTICLASS, "positive_class": None},
        {"positive_class": None},
        {"references": {"accuracy": 0.9}},
    ],
)
def test_figures_of_a_model_may_change_at_once(fields: dict[str, Any]) -> None:
    now = with_fraud(**fields)
    assert now == adopt(RUNNING, now).settings


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"report_windows_ms": (MINUTE_MS,), "base_window_ms": MINUTE_MS}, "report_windows"),
        ({"task": Task.REGRESSION, "positive_class": None}, "task"),
        ({"class_names": ("fraud", "ok")}, "classes.names"),
        ({"label_policy": LabelPolicy.FIRST}, "label_policy"),
    ],
)
def test_figures_that_need_other_counts_stay(fields: dict[str, Any], path: str) -> None:
    adoption = adopt(RUNNING, with_fraud(**fields))
    assert RUNNING == adoption.settings
    assert f"models[fraud].{path}" in [change.path for change in adoption.refused]
    assert all("stays as it is: " in str(change) for change in adoption.refused)


def test_how_predictions_are_explained_waits_for_the_next_start() -> None:
    adoption = adopt(RUNNING, with_fraud(explanation=ExplainTerms(predictor="served:fraud")))
    assert (RUNNING, ()) == (adoption.settings, adoption.adopted)
    assert [f"models[fraud].explain stays as it is: a change applies {Applies.RESTART}"] == [
        str(change) for change in adoption.refused
    ]


def test_models_may_be_listed_and_no_longer_be_listed_as_far_as_their_figures_go() -> None:
    listed = MonitoredModel(name="new", task=Task.BINARY, positive_class="a", label_horizon_ms=HOUR_MS)
    adoption = adopt(RUNNING, dataclasses.replace(RUNNING, models=(FRAUD, listed)))
    assert (FRAUD, dataclasses.replace(listed, label_horizon_ms=DAY_MS)) == adoption.settings.models
    assert ["models[new].label_horizon"] == [change.path for change in adoption.refused]
    assert () == adopt(RUNNING, Settings()).settings.models


def test_nothing_that_counts_or_connections_rest_on_is_taken_at_once() -> None:
    at_once = {row.path for row in settings_rows() if row.meaning.applies is Applies.AT_ONCE}
    assert {"evaluation_interval", "log.level", "models[].positive_class"} <= at_once
    assert not [path for path in at_once if path.startswith(("kafka.", "redis.", "limits.", "web."))]
    assert at_once.isdisjoint({"allowed_lateness", "max_future_skew", "models[].label_horizon", "models[].segments"})
