"""Earlier builds of Latelabel, so that tests run one beside the present build on one ledger.

`earlier_builds.tar.xz` holds, in a folder named by the ledger's format, what the wheel of a commit installs:

    3   the first of format 3, with segments that change
    4   the first of format 4, with label horizons that change

Whoever raises the format packs the tree that does so, which is the first build of the new format for those that follow;
of the older ones the newest stays:

    python -m tests.support.earlier_builds .
"""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

__all__ = ["EarlierBuild", "unpack"]

ARCHIVE = Path(__file__).with_suffix(".tar.xz")
KEPT = 2


@dataclasses.dataclass(frozen=True, slots=True)
class EarlierBuild:
    """Packages that `PYTHONPATH` may name, which write the ledger in a format."""

    packages: Path
    format: int


def unpack(folder: Path) -> Mapping[int, EarlierBuild]:
    """Unpack all builds into a folder. Returns: by the format that their own code says they write."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    builds = [EarlierBuild(packages, _format_of(packages)) for packages in sorted(folder.iterdir())]
    return {build.format: build for build in builds}


def _format_of(packages: Path) -> int:
    founding = (packages / "streams/ledger/founding.py").read_text()
    (said,) = re.findall(r"^FORMAT = (\d+)$", founding, re.MULTILINE)
    return int(said)


def pack(tree: Path) -> None:
    """Add the wheel of a tree to the archive, in place of one with the same format."""
    with tempfile.TemporaryDirectory() as name:
        builds, wheels = Path(name, "builds"), Path(name, "wheels")
        builds.mkdir()
        kept = dict(unpack(builds)) if ARCHIVE.exists() else {}
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
        subprocess.run([*pip, "--wheel-dir", str(wheels), str(tree)], check=True)
        (wheel,) = wheels.iterdir()
        packages = Path(name, "new")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(packages)
        kept[_format_of(packages)] = EarlierBuild(packages, _format_of(packages))
        with tarfile.open(ARCHIVE, "w:xz", preset=9) as archive:
            for number in sorted(kept)[-KEPT:]:
                archive.add(kept[number].packages, str(number), filter=_nobodys)


def _nobodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without owner and time, so that a tree gives the same archive for everybody."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    pack(Path(sys.argv[1]))
