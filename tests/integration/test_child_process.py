"""Processes in which models run: what ends with them, what is read again for them, and what they forget."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import psutil
import pytest
from msgspec import Raw

from agents.clock import SystemClock
from agents.explainer.child_process import ChildFailed, ChildLimits, ChildProcess
from agents.explainer.explaining import Explaining
from agents.explainer.jobs import Item, Job, Subject
from agents.explainer.record_log import RecordLog
from agents.explainer.tabular_subject import TabularSubject
from agents.explainer.workshop import Workshop
from agents.settings import load_settings
from schemas.explain_request import ExplainRequest, WhyAsked
from schemas.explanation import ExplainFailure
from schemas.prediction import Prediction
from streams.explanation.terms import ExplainTerms
from streams.monitored_model import Task
from tests.support.waiting import wait_until

MODELS = """
import os, subprocess, time
import numpy as np

def helped(rows):
    helper = subprocess.Popen(["sleep", "600"])
    file = os.path.join(os.path.dirname(__file__), "helper")
    with open(file + ".new", "w") as new:
        new.write(str(helper.pid))
    os.rename(file + ".new", file)
    time.sleep(600)

def half(rows):
    return np.full((len(rows), 2), 0.5)

def fragile(rows):
    if len(rows) < 100:  # what is to be explained, and not its neighbours
        os._exit(3)
    return half(rows)
"""
ROWS = [{"a": float(number), "b": float(number % 7)} for number in range(50)]


@pytest.fixture(autouse=True)
def _models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run_here.py").write_text(MODELS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "run_here", raising=False)


def job(model: str, pool: str, *items: Item, background: Sequence[Mapping[str, Any]] = ()) -> Job:
    subject = Subject(
        model="m",
        model_version="1",
        terms=ExplainTerms(predictor=f"run_here:{model}", samples=200),
        task=Task.MULTICLASS,
        positive_class=None,
        classes=("no", "yes"),
        allowed_hosts=(),
        answer_seconds=5,
        answer_bytes=1 << 20,
    )
    return Job(subject=subject, pool=pool, background=background, items=items)


@contextlib.asynccontextmanager
async def a_child() -> AsyncIterator[ChildProcess]:
    child = ChildProcess(ChildLimits(memory_bytes=4 << 30, open_files=64, seconds=60))
    try:
        yield child
    finally:
        await child.stop()


async def test_what_a_model_has_started_ends_with_its_process(tmp_path: Path) -> None:
    async with a_child() as child:
        running = asyncio.create_task(child.run(job("helped", "p", background=ROWS)))
        file = tmp_path / "helper"
        await asyncio.to_thread(wait_until, file.exists, what="the model to start a helper")
        await child.stop()
        with pytest.raises(ChildFailed):
            await running
        helper = int(file.read_text())
        await asyncio.to_thread(wait_until, lambda: not psutil.pid_exists(helper), what="the helper to end")


async def test_neighbourhood_is_forgotten_when_another_one_of_its_model_version_is_drawn() -> None:
    def known() -> int:
        gc.collect()
        return sum(isinstance(each, TabularSubject) for each in gc.get_objects())

    explaining, before = Explaining(), known()
    for generation in "123":
        (outcome,) = explaining.explain(job("half", generation, background=ROWS))
        assert None is outcome.failure, outcome.message
    assert before + 1 == known()


async def test_process_that_has_drawn_anew_explains_by_what_it_drew_last() -> None:
    async with a_child() as child:
        for generation in "12":
            await child.run(job("half", generation, background=ROWS))
            assert {("m", "1"): generation} == child.ready
        (outcome,) = await child.run(job("half", "2", Item(features=ROWS[0], predicted="yes")))
        assert None is outcome.failure, outcome.message
    assert {} == child.ready


class CountedLog:
    """A log of predictions that counts how often it is searched for what is usual."""

    def __init__(self) -> None:
        self.searched = 0

    async def prediction(self, request: ExplainRequest) -> Prediction:
        return Prediction(request.request_id, "m", 0, 0, "1", "yes", None, None, Raw(b'{"a":1,"b":2}'), {}, {})

    async def background(self, _: ExplainRequest, *, wanted: int) -> Sequence[Mapping[str, Any]]:
        self.searched += 1
        return ROWS[:wanted]


async def test_what_is_usual_is_read_once_however_often_a_process_ends(tmp_path: Path) -> None:
    path = tmp_path / "latelabel.yaml"
    path.write_text(
        "explainer: {timeout: 60s}\n"
        "models: [{name: m, classes: {names: [no, yes]}, explain: {predictor: 'run_here:fragile', samples: 200}}]\n"
    )
    log = CountedLog()
    request = ExplainRequest(
        request_id="r", model="m", model_version="1", topic="t", partition=0, offset=0, reason=WhyAsked.BASE
    )
    async with a_child() as child:
        workshop = Workshop(load_settings(path, {}), cast("RecordLog", log), child, SystemClock())
        (explanation,) = await workshop.explain([request])
        assert explanation.failure is not None
        assert ExplainFailure.CRASHED == explanation.failure.reason
    assert 1 == log.searched
