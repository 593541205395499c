"""`make demo LEAK=1`: a model that leaks is served, watched and told of, and nothing of it stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.test_demo import demo_running, survivors


@pytest.mark.timeout(480)
def test_a_model_that_leaks_is_told_of_with_the_time_that_is_left(tmp_path: Path) -> None:
    output, kept = tmp_path / "demo.log", tmp_path / "kept"
    with demo_running(output, "--leak", "--keep", str(kept)) as process:
        assert 0 == process.wait(timeout=450), output.read_text()
    said = output.read_text()
    assert "SuspectedLeak: memory of flights-server of flight-delay grows as a leak does" in said
    assert "MemoryFullSoon: memory of flights-server of flight-delay is full in " in said
    assert "resources of flights-server, newest windows first, UTC" in said
    assert "accuracy, newest windows first, UTC" in said
    assert [] == survivors(output)
