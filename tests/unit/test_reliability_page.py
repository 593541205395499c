"""The fault matrix names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_test_named_in_the_fault_matrix_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "deploy/reliability.md").read_text()))
    files = (ROOT / "tests").rglob("test_*.py")
    existing = {name for file in files for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.M)}
    assert len(named) > 50
    assert set() == named - existing
