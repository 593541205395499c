"""docker-compose.yml is valid, and says the same as the stack that the tests run."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
CHECKER = ROOT / ".cache/tools/bin/check-jsonschema"
# What has to differ between one machine and two containers that call each other by name.
ADDRESSES = {
    "advertised.listeners",
    "controller.quorum.voters",
    "listener.security.protocol.map",
    "listeners",
    "log.dirs",
}


def check_schema(path: Path) -> subprocess.CompletedProcess[str]:
    """Check a file against the compose specification's own schema, which the checker ships."""
    assert CHECKER.exists(), f"{CHECKER} is missing; run `make setup`"
    command = [str(CHECKER), "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return loaded


def test_compose_file_is_valid_against_the_compose_specification() -> None:
    checked = check_schema(COMPOSE)
    assert (0, "") == (checked.returncode, checked.stderr), checked.stdout


def test_misspelt_key_would_be_found(tmp_path: Path) -> None:
    misspelt = tmp_path / "compose.yml"
    misspelt.write_text(COMPOSE.read_text().replace("healthcheck:", "healtcheck:"))
    assert 1 == check_schema(misspelt).returncode


def test_kafka_in_docker_is_set_as_the_local_one_but_for_addresses(compose: dict[str, Any]) -> None:
    lines = (ROOT / "deploy/kafka/server.properties").read_text().splitlines()
    local = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    docker = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in compose["services"]["kafka"]["environment"].items()
        if name != "KAFKA_HEAP_OPTS"
    }
    docker.pop("inter.broker.listener.name")
    assert local.keys() == docker.keys()
    differing = {name for name in local if local[name] != docker[name]}
    assert differing == ADDRESSES


def test_services_are_waited_for_only_if_they_exist_and_say_when_they_are_ready(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            assert needed in services, name
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[needed], name


def test_every_file_that_docker_reads_is_there(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (ROOT / source).is_file(), source
        if "build" in service:
            dockerfile = ROOT / service["build"]["dockerfile"]
            copied = [line.split()[1:-1] for line in dockerfile.read_text().splitlines() if line.startswith("COPY ")]
            for source in [source for sources in copied for source in sources]:
                assert source.startswith(("--from=", "/")) or (ROOT / source).exists(), source
