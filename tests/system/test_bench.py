"""The benchmark itself, with few records: that it runs, tells what it compares, and has no figure for wrong cells."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.bench.__main__ import main
from tests.bench.errors import BenchError
from tests.bench.workers import check_cells


def test_wrong_cells_are_no_figure() -> None:
    check_cells(Counter({"a": 2, "b": 0}), Counter({"a": 2}))
    with pytest.raises(BenchError, match=r"1 of 1 cells are wrong, .* a: 3 for 2"):
        check_cells({"a": 2}, {"a": 3})


@pytest.mark.timeout(600)
def test_a_backlog_is_measured_beside_the_loop_with_all_cells_right(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "bench.json"
    arguments = ["--only", "w1", "--scale", "0.002", "--repeats", "1", "--json", str(kept)]
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    assert 0 == main()
    figures = {figure["what"]: figure for figure in json.loads(kept.read_text())["figures"]}
    assert 0 == figures["W1, join and cells: wrong cells"]["median"]
    assert figures["W1, join and cells: worker memory at its peak"]["met"] is True
    assert "0 without a score" in capsys.readouterr().out


def test_a_measurement_that_does_not_exist_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "--only", "w9"])
    with pytest.raises(SystemExit):
        main()
    assert "there is no measurement w9" in capsys.readouterr().err
