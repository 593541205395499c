"""What is installed, under which names, and from which lock."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from setuptools import find_packages

from deploy.servers import KAFKA_VERSION

ROOT = Path(__file__).resolve().parents[2]
OUR_NAMES = ("agents", "schemas", "streams")
LOCKS = sorted(ROOT.glob("requirements*.txt"))


@pytest.fixture
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.mark.parametrize("name", OUR_NAMES)
def test_no_other_distribution_owns_a_top_level_name_of_ours(name: str) -> None:
    # With an editable install a foreign package of the same name would be imported instead of ours.
    assert {"latelabel"} == set(packages_distributions().get(name, ["latelabel"]))
    origin = __import__(name).__file__
    assert origin is not None
    assert ROOT / name / "__init__.py" == Path(origin)


def test_wheel_holds_our_packages_and_no_others(pyproject: dict[str, Any]) -> None:
    found = find_packages(str(ROOT), include=pyproject["tool"]["setuptools"]["packages"]["find"]["include"])
    assert set(OUR_NAMES) == {name.split(".")[0] for name in found}
    folders = {path.parent for name in OUR_NAMES for path in (ROOT / name).rglob("*.py")}
    assert {str(path.relative_to(ROOT)).replace("/", ".") for path in folders} == set(found)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_lock_names_no_host_and_no_folder(lock: Path) -> None:
    outside_hashes = re.sub(r"--hash=sha256:[0-9a-f]{64}", "", lock.read_text())
    assert [] == re.findall(r"://|--(?:extra-)?index-url|--find-links|@ |(?<!\w)/\w+/", outside_hashes)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_locked_requirement_has_an_exact_version_and_a_hash(lock: Path) -> None:
    text = lock.read_text().replace("\\\n", " ")
    requirements = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert requirements
    for requirement in requirements:
        assert re.match(r"^[\w.-]+(\[[\w, -]+\])?==\S+ .*--hash=sha256:", requirement), requirement[:80]


def test_lock_covers_every_dependency(pyproject: dict[str, Any]) -> None:
    def names(lock: str) -> set[str]:
        return set(re.findall(r"^([\w.-]+)(?:\[[\w, -]+\])?==", (ROOT / lock).read_text(), re.MULTILINE))

    def wanted(requirements: list[str]) -> set[str]:
        return {re.split(r"[\[<>=~! ]", requirement)[0].lower() for requirement in requirements}

    project = pyproject["project"]
    extras = project["optional-dependencies"]
    assert wanted(pyproject["build-system"]["requires"]) - names("requirements-build.txt") == set()
    assert wanted(project["dependencies"]) - names("requirements.txt") == set()
    assert wanted(extras["dev"]) - names("requirements-dev.txt") == set()


def test_development_lock_repeats_the_versions_of_the_other() -> None:
    def versions(lock: str) -> set[str]:
        return set(re.findall(r"^([\w.-]+(?:\[[\w, -]+\])?==\S+)", (ROOT / lock).read_text(), re.MULTILINE))

    assert versions("requirements.txt") - versions("requirements-dev.txt") == set()


def test_one_version_of_kafka_is_named_everywhere() -> None:
    pom = (ROOT / "deploy/kafka/pom.xml").read_text()
    makefile = (ROOT / "Makefile").read_text()
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert f"<kafka.version>{KAFKA_VERSION}</kafka.version>" in pom
    assert f"KAFKA_VERSION := {KAFKA_VERSION}\n" in makefile
    assert f"apache/kafka:{KAFKA_VERSION}" == compose["services"]["kafka"]["image"]
