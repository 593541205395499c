"""A corpus of wrong configurations: all mistakes are told in one run, each with place, what was found, what is allowed.

Each file of `tests/support/wrong_configurations` begins with a comment for every mistake that must be told of it, in
order; `…` stands for any text.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from agents.__main__ import main
from agents.settings_file import LARGEST_BYTES

CORPUS = sorted((Path(__file__).resolve().parents[1] / "support/wrong_configurations").glob("*.yaml"))
MISUSED = 2
SECRETS = ("s3cret", "53713371")


def check(arguments: list[str], environ: Mapping[str, str] | None = None) -> list[str]:
    """The mistakes that `latelabel config check` tells, after it has ended as it must."""
    ended = CliRunner().invoke(main, [*arguments, "config", "check"], env=environ, prog_name="latelabel")
    assert (MISUSED, "") == (ended.exit_code, ended.stdout), ended.output
    assert isinstance(ended.exception, SystemExit)
    assert not [secret for secret in SECRETS if secret in ended.stderr]
    return ended.stderr.splitlines()


def expected(file: Path) -> list[str]:
    """The comments that the file begins with."""
    lines = file.read_bytes().decode(errors="replace").split("\n")
    return [line[2:] for line in lines[: next(at for at, line in enumerate(lines) if not line.startswith("# "))]]


def matches(told: str, pattern: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("…"))), told) is not None


def test_corpus_has_at_least_sixty_files() -> None:
    assert len(CORPUS) >= 60


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: file.stem)
def test_every_mistake_is_told_with_line_found_and_allowed(file: Path) -> None:
    told = [line.removeprefix(f"{file}:") for line in check(["--config", str(file)])]
    wanted = expected(file)
    assert len(wanted) == len(told), told
    assert [] == [(line, pattern) for line, pattern in zip(told, wanted, strict=True) if not matches(line, pattern)]
    assert all(re.match(r"\d+: .+: found .+, .+", line) for line in told)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("absent.yaml", "no readable file (No such file or directory)"),
        (".", "no readable file (Is a directory)"),
        ("some.yaml/inner", "no readable file (Not a directory)"),
        ("x" * 300, "no readable file (File name too long)"),
        ("/proc/self/mem", "no readable file (Input/output error)"),
    ],
)
def test_file_that_cannot_be_read_is_named_with_the_reason(name: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "some.yaml").write_text("")
    (line,) = check(["--config", str(tmp_path / name)])
    assert line == f"{tmp_path / name}: found {told}, expected the configuration; see --config and LATELABEL_CONFIG"


@pytest.mark.parametrize("endless", [True, False], ids=["a device that never ends", "a file of a megabyte"])
def test_more_than_a_configuration_can_be_is_not_read(endless: bool, tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    large.write_text("# " + "x" * LARGEST_BYTES)
    (line,) = check(["--config", "/dev/zero" if endless else str(large)])
    assert line.endswith(":1: YAML: found more than 1024 KiB, expected the configuration of one installation")


def test_mistakes_in_variables_are_told_beside_those_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "latelabel.yaml"
    file.write_text("idle_after: 5\n")
    environ = {
        "LATELABEL_CONFIG": str(file),
        "LATELABEL_REDIS__SHARDS": "eight",
        "LATELABEL_KAFKA__BROKER": "a:1",
        "LATELABEL_MODELS": "[]",
        "LATELABEL_EVALUATION_INTERVAL": "10",
    }
    told = check([], environ)
    assert [
        "LATELABEL_EVALUATION_INTERVAL: found ",
        "LATELABEL_KAFKA__BROKER: found no setting of that name, expected another one; did you mean ",
        "LATELABEL_MODELS: found ",
        "LATELABEL_REDIS__SHARDS: found ",
    ] == sorted(
        re.sub(r'(found |did you mean )[\["e1].*', r"\1", line) for line in told if line.startswith("LATELABEL")
    )
    assert f"{file}:1: idle_after: found 5, expected a duration such as 30s, 5m, 1h30m or 7d" in told


def test_mistakes_in_rule_files_are_told_beside_those_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(
        "groups:\n  - {name: quality, rules: [{alert: Low, when: {metric: acuracy}}]}\n"
    )
    file = tmp_path / "latelabel.yaml"
    file.write_text("idle_after: 5\nmodels: [{name: fraud}]\nrule_files: [rules.yaml, absent.yaml]\n")
    places = [line.split(": found")[0] for line in check(["--config", str(file)])]
    rule = f"{tmp_path}/rules.yaml:2: groups[0].rules[0].when"
    assert [f"{file}:1: idle_after", f"{rule}.metric", rule, rule, f"{tmp_path}/absent.yaml"] == places


@pytest.mark.parametrize("command", [("worker",), ("doctor",), ("topics", "create"), ("counts",)])
def test_every_command_tells_them_alike_before_it_does_anything(command: tuple[str, ...], tmp_path: Path) -> None:
    file = next(file for file in CORPUS if file.stem == "mistakes-in-every-section")
    ended = subprocess.run(
        [sys.executable, "-m", "agents", *command, "--config", str(file)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (MISUSED, "") == (ended.returncode, ended.stdout)
    assert len(expected(file)) == len(ended.stderr.splitlines())
    assert "Traceback" not in ended.stderr
