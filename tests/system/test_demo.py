"""`make demo`, a few days of it: equal at the end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.waiting import wait_until

pytestmark = pytest.mark.alone

ROOT = Path(__file__).resolve().parents[2]
LATELABEL = (sys.executable, "-m", "agents")
DEMO = (sys.executable, "-m", "deploy.stack", "run", "--", *LATELABEL, "demo", "--days", "10", "--speed", "1500000")
MARK = "DEMO_UNDER_TEST"
"""A variable that every process of one demo inherits."""


@contextmanager
def demo_running(output: Path, *options: str) -> Iterator[psutil.Popen]:
    """Run the demo in a process group of its own, as a terminal would, with its output in a file."""
    environment = {**os.environ, MARK: str(output)}
    with output.open("wb") as file:
        process = psutil.Popen(
            (*DEMO, *options), cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield process
        finally:
            for survivor in survivors(output):
                survivor.kill()
            process.wait()


def survivors(output: Path) -> list[psutil.Process]:
    """Return all processes, in whatever session, that descend from the demo that writes to `output`."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == str(output):
                found.append(process)
    return found


def test_every_final_figure_is_equal_to_scikit_learns_recount_and_on_the_page(tmp_path: Path) -> None:
    output = tmp_path / "demo.log"
    with demo_running(output, "--look") as process:
        wait_until(lambda: "The page stays" in output.read_text(), what="the demo to end", seconds=150)
        page = re.search(r"stays at (\S+) ", output.read_text())
        assert page
        assert ["flight-delay"] == [row["model"] for row in fleet(page[1])]
        exported = dict(re.findall(r"^export (\w+)=(.+)$", output.read_text(), re.MULTILINE))
        for command in (("show", "flight-delay"), ("doctor",)):
            arguments: Any = {"cwd": ROOT, "env": {**os.environ, **exported}, "capture_output": True, "text": True}
            done = subprocess.run([*LATELABEL, *command], check=False, **arguments)
            assert 0 == done.returncode, done.stdout + done.stderr
        os.killpg(process.pid, signal.SIGINT)
        code = process.wait(timeout=60)
        assert [] == survivors(output)
    text = output.read_text()
    assert 0 == code, text
    for what in (
        "cells",
        "fates",
        "figures of the final reports",
        "figures of requests and failures",
        "figures of the model's signals",
    ):
        found = re.search(rf"{what}: ([\d,]+) compared, ([\d,]+) equal", text)
        assert found, text
        assert found[1] == found[2] != "0"
    assert "revision 1:" in text
    # The delays of summer fire an alert, and it is over when they are.
    assert "Alerts that fired on model-alerts" in text
    assert "EQUAL" in text
    assert re.search(r"signals of 2013-03-01, medians: margin \S+, route_flights \S+, vote_entropy \S+", text)
    assert re.search(r"vote_entropy +median \S+; undefined for 0% of the flights on the first day", text)
    speed = re.search(r"([\d,]+) times faster than life", text.split("EQUAL")[1])
    assert speed
    print(f"    replayed {speed[1]} times faster than life (bar: 500,000)")


def fleet(page: str) -> list[dict[str, Any]]:
    """What the page shows first, once its worker answers."""

    def asked() -> list[dict[str, Any]]:
        with suppress(OSError), urllib.request.urlopen(f"{page}/api/v1/fleet", timeout=10) as answer:
            rows: list[dict[str, Any]] = json.load(answer)["rows"]
            return rows
        return []

    wait_until(lambda: bool(asked()), what=f"{page} to show models", seconds=60)
    return asked()
