"""What the guides say to type does what they say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.servers import KAFKA_LIBS, KafkaServer, RedisServer
from tests.support.topics import read_topic
from tests.support.workers import Installation, finish, worker

GUIDES = Path(__file__).resolve().parents[2] / "deploy/guides"
ROOT = GUIDES.parents[1]
COMMAND_SECONDS = 60.0
READING_SECONDS = 12.0
"""The example of a reader reads until it is stopped."""


def blocks(guide: str, language: str) -> list[str]:
    """The code of a guide in one language."""
    return re.findall(rf"^```{language}\n(.+?)^```", (GUIDES / guide).read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def installation(tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer) -> Installation:
    installation = Installation(tmp_path, brokers=kafka.address, redis_url=redis_server.url, partitions=1)
    installation.create_topics()
    return installation


def adapted(installation: Installation, text: str) -> str:
    """With the addresses of this test in place of the guide's."""
    text = text.replace("localhost:9092", installation.brokers).replace("my-dashboard", f"{installation.name}-readers")
    text = text.replace("-t predictions", f"-t {installation.topics['predictions']}")
    text = text.replace("-t labels", f"-t {installation.topics['labels']}")
    for role, name in {"predictions": "predictions", "labels": "labels", "metrics": "model-metrics"}.items():
        text = text.replace(f'"{name}"', f'"{installation.topics[role]}"')
    return text


def values(installation: Installation, role: str) -> list[dict[str, object]]:
    return [json.loads(value or b"") for _, value in read_topic(installation.brokers, installation.topics[role])]


def test_what_the_guide_publishes_is_counted_and_what_it_subscribes_to_is_printed(
    installation: Installation, tmp_path: Path
) -> None:
    (publish,) = blocks("publishing.md", "python")
    subprocess.run([sys.executable, "-c", adapted(installation, publish)], check=True, timeout=COMMAND_SECONDS)
    (publish,) = blocks("publishing.md", "java")
    (tmp_path / "Publish.java").write_text(adapted(installation, publish))
    # Compiled as it is started.
    java = ["java", "-cp", f"{KAFKA_LIBS}/*", str(tmp_path / "Publish.java")]
    published = subprocess.run(java, check=True, timeout=COMMAND_SECONDS, capture_output=True, text=True)
    assert "not published" not in published.stderr
    for line in re.findall(r"^    (echo .+ \| kcat .+)$", (GUIDES / "publishing.md").read_text(), re.MULTILINE):
        subprocess.run(adapted(installation, line), shell=True, check=True, timeout=COMMAND_SECONDS)
    assert (3, 3) == (len(values(installation, "predictions")), len(values(installation, "labels")))

    with worker(installation, "--until-caught-up", "--close") as process:
        code, log = finish(process)
    assert 0 == code, log
    (subscribe,) = blocks("subscribing.md", "python")
    with pytest.raises(subprocess.TimeoutExpired) as endless:
        subprocess.run(
            [sys.executable, "-u", "-c", adapted(installation, subscribe)],
            capture_output=True,
            timeout=READING_SECONDS,
            check=True,
        )
    lines = (endless.value.stdout or b"").decode().splitlines()
    assert lines
    assert all(re.fullmatch(r"fraud \S+Z (open|provisional|final) 0\.0 None", line) for line in lines), lines


@pytest.mark.parametrize("guide", sorted(path.name for path in GUIDES.glob("*.md")))
def test_links_of_a_guide_lead_somewhere(guide: str) -> None:
    check_links(GUIDES / guide)


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "deploy/kubernetes/README.md", "deploy/reliability.md"]
)
def test_links_of_a_page_lead_somewhere(page: str) -> None:
    check_links(ROOT / page)


def test_recipes_end_in_a_command_over_what_there_is() -> None:
    page, makefile = (ROOT / "CONTRIBUTING.md").read_text(), (ROOT / "Makefile").read_text()
    recipes = page[page.index("## Recipes") : page.index("## Decisions")].split("\n**")[1:]
    assert recipes
    for recipe in recipes:
        *_, command = recipe.strip().splitlines()
        assert re.match(r"    (make|\.venv/bin/\w+) ", command), recipe
        for target in re.findall(r"\bmake (\w+)", command):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), command
        for path in re.findall(r"\S+/\S+", command.replace(".venv/bin/", "")):
            assert list(ROOT.glob(path)), path


def check_links(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?://)([^)\s]+)\)", page.read_text()):
        name, _, chapter = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        if chapter:
            heads = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            assert chapter in [re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads], link


def test_commands_of_the_guides_exist() -> None:
    pages = [*GUIDES.glob("*.md"), *(ROOT / "deploy/runbooks").glob("*.md"), ROOT / "README.md"]
    words = {
        match
        for page in pages
        for match in re.findall(r"(?:^|`|    )latelabel ([a-z][a-z-]*)", page.read_text(), re.MULTILINE)
    }
    listed = subprocess.run(
        [sys.executable, "-m", "agents", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    commands = set(re.findall(r"^  ([a-z-]+)  ", listed, re.MULTILINE))
    assert set() == words - commands
