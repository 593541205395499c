"""The image: built as its linter wants it, from files that there are, for a root that nobody writes to."""

from __future__ import annotations

import subprocess
from pathlib import Path

from agents.log_settings import CONTAINER_VARIABLE
from agents.settings import WebSettings

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy/images/Dockerfile"
HADOLINT = ROOT / ".cache/tools/bin/hadolint"


def test_linter_has_nothing_to_say(tmp_path: Path) -> None:
    assert HADOLINT.exists(), f"{HADOLINT} is missing; run `make setup`"
    done = subprocess.run([str(HADOLINT), str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stdout)
    worse = tmp_path / "Dockerfile"
    worse.write_text(DOCKERFILE.read_text().replace("python:3.11-slim-bookworm", "python"))
    assert 0 != subprocess.run([str(HADOLINT), str(worse)], capture_output=True, check=False).returncode


def test_everything_that_is_copied_gets_past_the_ignored_files() -> None:
    let_through = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [line.split()[1:-1] for line in DOCKERFILE.read_text().splitlines() if line.startswith("COPY ")]
    sources = [source.removeprefix("./") for sources in copied for source in sources if "--from" not in sources[0]]
    assert sorted(let_through) == sorted(sources)
    assert all((ROOT / source).exists() for source in sources)


def test_it_runs_in_two_stages_on_one_base_as_nobody_in_particular_and_says_that_it_is_a_container() -> None:
    lines = DOCKERFILE.read_text().splitlines()
    bases = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert (2, 1) == (len(bases), len(set(bases)))
    assert "USER 10001:10001" in lines
    assert f"EXPOSE {WebSettings().port}" in lines
    assert f"{CONTAINER_VARIABLE}=1" in DOCKERFILE.read_text()
