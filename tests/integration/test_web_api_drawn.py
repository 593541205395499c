"""The API against requests that Schemathesis draws from its own description: right ones and wrong ones."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from agents.web import access
from deploy.servers import RedisServer
from tests.browser.conftest import PageServer
from tests.support.page_world import keep, world

SCHEMATHESIS = Path(__file__).resolve().parents[2] / ".cache/tools/bin/schemathesis"


def test_answers_to_drawn_requests_are_what_the_description_says(
    fresh_redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "BURST_REQUESTS", 1e9)
    server = PageServer(fresh_redis)
    server.run(keep(server.reports, world()))
    server.start()
    try:
        done = subprocess.run(
            [
                SCHEMATHESIS, "run", f"{server.address}/api/v1/openapi.json", "--checks", "all", "--max-examples", "25",
                "--seed", "1", "--exclude-path", "/api/v1/events", "--no-color",
                "--phases", "examples,coverage,fuzzing",
                # Whether a token is needed depends on the installation; tests/unit/agents/test_web_access.py tries it.
                "--exclude-checks", "ignored_auth",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=170,
            check=False,
        )  # fmt: skip
    finally:
        server.close()
    assert 0 == done.returncode, done.stdout[-6000:]
