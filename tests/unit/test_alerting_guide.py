"""The worked example of the guide on alert rules, as a reader would type it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from agents.__main__ import main

GUIDE = Path(__file__).resolve().parents[2] / "deploy/guides/alerting.md"
BLOCK = re.compile(r"```yaml\n(.*?)```", re.DOTALL)


@pytest.fixture
def _example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rules, tests = BLOCK.findall(GUIDE.read_text())
    Path("rules.yaml").write_text(rules)
    Path("rules_test.yaml").write_text(tests)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("rules", "check", "rules.yaml"), "ok, 1 rule in 1 file\n"),
        (("rules", "test", "rules_test.yaml"), "rules_test.yaml: 3 of 3 expectations met\n"),
    ],
)
@pytest.mark.usefixtures("_example")
def test_example_does_what_the_guide_says(command: tuple[str, ...], told: str) -> None:
    done = CliRunner().invoke(main, command, standalone_mode=False)
    assert (told, 0) == (done.output, done.return_value or 0)
