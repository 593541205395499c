"""deploy/kubernetes: valid, safe, and in agreement with what the rest of the repository says."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from agents.kafka_topics import wanted_topics
from agents.settings import load_settings
from schemas.topics import TOPICS
from tests.support.kustomize import render

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy/kubernetes"
VALIDATE = ROOT / ".cache/tools/bin/kubernetes-validate"
APPLIED = ("overlays/dev", "overlays/prod", "strimzi")
WITHOUT_SCHEMA = {"KafkaTopic", "KafkaUser", "PodMonitor", "ScaledObject", "TriggerAuthentication"}
"""Of others; checked by hand against their own definitions when they were written."""

Resource = dict[str, Any]


def named(resources: list[Resource], kind: str) -> dict[str, Resource]:
    return {each["metadata"]["name"]: each for each in resources if each["kind"] == kind}


@pytest.mark.parametrize("folder", ["overlays/dev", "overlays/prod"])
def test_what_would_be_applied_is_valid(folder: str, tmp_path: Path) -> None:
    assert VALIDATE.exists(), f"{VALIDATE} is missing; run `make setup`"
    resources = render(FOLDER / folder)
    known = [each for each in resources if each["kind"] not in WITHOUT_SCHEMA]
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all(known))
    done = subprocess.run(
        [str(VALIDATE), "--strict", str(tmp_path / "all.yaml")], capture_output=True, text=True, check=False
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    assert "Couldn't find schema" not in done.stdout + done.stderr


def test_misspelt_field_would_be_found(tmp_path: Path) -> None:
    text = (FOLDER / "base/worker.yaml").read_text().replace("readinessProbe", "readynessProbe")
    (tmp_path / "worker.yaml").write_text(text)
    arguments = [str(VALIDATE), "--strict", str(tmp_path / "worker.yaml")]
    assert 0 != subprocess.run(arguments, capture_output=True, check=False).returncode


@pytest.mark.parametrize("folder", APPLIED)
def test_kustomize_makes_the_same_where_it_is_installed(folder: str) -> None:
    resources = {(each["kind"], each["metadata"]["name"]): _plain(each) for each in render(FOLDER / folder)}
    if shutil.which("kubectl") and _kustomize_is_new():
        command = ["kubectl", "kustomize", str(FOLDER / folder)]
        made = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = {(each["kind"], each["metadata"]["name"]): _plain(each) for each in yaml.safe_load_all(made)}
        assert found == resources
    assert resources


def _kustomize_is_new() -> bool:
    said = subprocess.run(["kubectl", "version", "--client"], capture_output=True, text=True, check=False).stdout
    return re.search(r"Kustomize Version: v[5-9]", said) is not None


def _plain(resource: Resource) -> Resource:
    """With secrets in one form, and lists of objects in one order."""
    if resource["kind"] == "Secret" and "data" in resource:
        texts = {name: base64.b64decode(value).decode() for name, value in resource["data"].items()}
        resource = {name: value for name, value in resource.items() if name not in ("data", "type")}
        return resource | {"stringData": texts}
    return yaml.safe_load(yaml.safe_dump(_sorted(resource)))  # type: ignore[no-any-return]


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(inner) for key, inner in value.items()}
    if isinstance(value, list) and all(isinstance(item, dict) and "name" in item for item in value):
        return sorted(map(_sorted, value), key=lambda item: str(item["name"]))
    return value


@pytest.mark.parametrize("folder", ["overlays/dev", "overlays/prod"])
def test_containers_run_with_nothing_they_do_not_need(folder: str) -> None:
    for deployment in named(render(FOLDER / folder), "Deployment").values():
        pod = deployment["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"]
            assert not context["allowPrivilegeEscalation"]
            assert ["ALL"] == context["capabilities"]["drop"]
            assert {"startupProbe", "livenessProbe", "readinessProbe", "resources"} <= container.keys()
        selected = deployment["spec"]["selector"]["matchLabels"]
        assert selected.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()


@pytest.mark.parametrize("folder", ["overlays/dev", "overlays/prod"])
def test_budgets_policies_and_scaling_are_about_pods_that_there_are(folder: str) -> None:
    resources = render(FOLDER / folder)
    deployments = named(resources, "Deployment")
    labels = [each["spec"]["template"]["metadata"]["labels"].items() for each in deployments.values()]
    for budget in named(resources, "PodDisruptionBudget").values():
        assert any(budget["spec"]["selector"]["matchLabels"].items() <= each for each in labels)
    policies = named(resources, "NetworkPolicy")
    for policy in policies.values():
        assert any(policy["spec"]["podSelector"]["matchLabels"].items() <= each for each in labels)
    assert deployments.keys() == policies.keys()
    for scaled in named(resources, "ScaledObject").values():
        target = deployments[scaled["spec"]["scaleTargetRef"]["name"]]
        assert "replicas" not in target["spec"]


@pytest.mark.parametrize("folder", ["overlays/dev", "overlays/prod"])
def test_configurations_are_right_and_their_files_are_mounted(folder: str, tmp_path: Path) -> None:
    resources = render(FOLDER / folder)
    (tmp_path / "latelabel.yaml").write_text(named(resources, "ConfigMap")["latelabel"]["data"]["latelabel.yaml"])
    settings = load_settings(tmp_path / "latelabel.yaml", {})
    security = settings.kafka.security
    for deployment in named(resources, "Deployment").values():
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        mounts = [Path(mount["mountPath"]) for mount in container["volumeMounts"]]
        volumes = {volume["name"] for volume in deployment["spec"]["template"]["spec"]["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        for file in (security.password_file, security.ca_file):
            assert file is None or file.parent in mounts


def test_scaling_looks_at_the_topics_and_the_group_that_workers_read() -> None:
    settings = load_settings(FOLDER / "overlays/prod/latelabel.yaml", {})
    (scaled,) = named(render(FOLDER / "overlays/prod"), "ScaledObject").values()
    triggers = [trigger["metadata"] for trigger in scaled["spec"]["triggers"]]
    assert [settings.kafka.topic("predictions"), settings.kafka.topic("labels")] == [each["topic"] for each in triggers]
    assert {settings.kafka.group} == {each["consumerGroup"] for each in triggers}
    assert {settings.kafka.address} == {each["bootstrapServers"] for each in triggers}
    assert settings.kafka.partitions == scaled["spec"]["maxReplicaCount"]


def test_topics_of_strimzi_are_those_that_topics_create_would_make() -> None:
    settings = load_settings(FOLDER / "overlays/prod/latelabel.yaml", {})
    found = named(render(FOLDER / "strimzi"), "KafkaTopic")
    for wanted in wanted_topics(settings):
        spec = found.pop(wanted.name)["spec"]
        assert (wanted.partitions, wanted.replication_factor) == (spec["partitions"], spec["replicas"])
        assert dict(wanted.config) == {name: str(value) for name, value in spec["config"].items()}
    assert {} == found


def test_user_of_strimzi_has_the_rights_of_the_guide_and_no_others() -> None:
    guide = (ROOT / "deploy/guides/security.md").read_text()
    names = {role: topic.default_name for role, topic in TOPICS.items()}
    names |= {"kafka.group": "latelabel", "kafka.group-alerts-alertmanager": "latelabel-alerts-alertmanager"}
    wanted: dict[tuple[str, str], set[str]] = {}
    rows = re.findall(r"^\| `([a-z -]+)` \| (\w+) \| (topic|group) \| (.+) \|$", guide, re.MULTILINE)
    for command, operation, kind, named_in_guide in rows:
        if command in ("worker", "page", "alerts forward", "doctor"):
            roles = list(TOPICS) if named_in_guide == "all" else re.findall(r"`([\w.-]+)`", named_in_guide)
            for role in roles:
                if role in names:
                    wanted.setdefault((kind, names[role]), set()).add(operation)
    (user,) = named(render(FOLDER / "strimzi"), "KafkaUser").values()
    given = {
        (acl["resource"]["type"], acl["resource"]["name"]): set(acl["operations"])
        for acl in user["spec"]["authorization"]["acls"]
    }
    assert wanted == given
