"""As much of Kustomize as deploy/kubernetes uses, so that what would be applied can be checked without it.

Resources, components, generators without name suffixes, strategic merge patches (lists of objects merge by name), JSON
patches that remove, namespace and images. Compared with `kubectl kustomize` where that is installed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

__all__ = ["render"]

Resource = dict[str, Any]

_KNOWN = {
    "apiVersion",
    "kind",
    "namespace",
    "resources",
    "components",
    "configMapGenerator",
    "secretGenerator",
    "generatorOptions",
    "labels",
    "patches",
    "images",
}


def render(folder: Path) -> list[Resource]:
    """What `kubectl apply --kustomize FOLDER` would apply.

    Raises:
        ValueError: the folder uses something that this does not know.
    """
    return _apply(folder, [])


def _apply(folder: Path, found: list[Resource]) -> list[Resource]:
    """The resources of a folder on top of those that a component is applied to."""
    wanted = yaml.safe_load((folder / "kustomization.yaml").read_text())
    if unknown := wanted.keys() - _KNOWN:
        raise ValueError(f"{folder} uses {unknown}")
    for name in wanted.get("resources", []):
        path = folder / name
        found += render(path) if path.is_dir() else _documents(path)
    for name in wanted.get("components", []):
        found = _apply(folder / name, found)
    for generator in wanted.get("configMapGenerator", []):
        _generate(folder, generator, found)
    for generator in wanted.get("secretGenerator", []):
        pairs = dict(literal.split("=", 1) for literal in generator["literals"])
        found.append(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": generator["name"]}, "stringData": pairs}
        )
    for patch in wanted.get("patches", []):
        _patch(folder, patch, found)
    _transform(wanted, found)
    return found


def _transform(wanted: Resource, found: list[Resource]) -> None:
    for resource in found:
        for labels in wanted.get("labels", []):
            resource["metadata"]["labels"] = resource["metadata"].get("labels", {}) | labels["pairs"]
        if "namespace" in wanted:
            resource["metadata"]["namespace"] = wanted["namespace"]
    for image in wanted.get("images", []):
        for container in _containers(found):
            if container["image"] == image["name"]:
                container["image"] = f"{image['newName']}:{image['newTag']}"


def _documents(path: Path) -> list[Resource]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def _generate(folder: Path, generator: Resource, found: list[Resource]) -> None:
    held = {name: (folder / name).read_text() for name in generator["files"]}
    if generator.get("behavior") == "merge":
        _one(found, "ConfigMap", generator["name"])["data"].update(held)
    else:
        metadata = {"name": generator["name"]}
        found.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": held})


def _patch(folder: Path, patch: Resource, found: list[Resource]) -> None:
    changes = yaml.safe_load((folder / patch["path"]).read_text() if "path" in patch else patch["patch"])
    if isinstance(changes, list):
        target = _one(found, patch["target"]["kind"], patch["target"]["name"])
        for change in changes:
            if change["op"] != "remove":
                raise ValueError(f"{folder} patches by {change['op']}")
            *outer, last = change["path"].strip("/").split("/")
            within = target
            for key in outer:
                within = within[key]
            del within[last]
    else:
        target = _one(found, changes["kind"], changes["metadata"]["name"])
        target.update(_merged(target, changes))


def _merged(before: Any, after: Any) -> Any:
    if isinstance(before, dict) and isinstance(after, dict):
        return before | {key: _merged(before.get(key), value) for key, value in after.items()}
    if isinstance(before, list) and isinstance(after, list) and all("name" in item for item in (*before, *after)):
        merged = {item["name"]: item for item in after}
        merged |= {item["name"]: _merged(item, merged.get(item["name"], {})) for item in before}
        return list(merged.values())
    return copy.deepcopy(after)


def _one(found: list[Resource], kind: str, name: str) -> Resource:
    (resource,) = [each for each in found if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return resource


def _containers(found: list[Resource]) -> Iterator[Resource]:
    for resource in found:
        if resource["kind"] == "Deployment":
            yield from resource["spec"]["template"]["spec"]["containers"]
