"""How many instructions decoding and packing a record takes: a count that no neighbour on the machine changes.

Valgrind counts a program that packs the same records more and fewer times; the difference leaves out its start. The
count depends on the interpreter and on the wheels, so each combination has a figure of its own in
`instruction_counts.json`; a combination without one is measured and said to be new, and

    python -m tests.bench.instructions --record

keeps its figure.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.bench.errors import BenchError
from tests.bench.figures import Figure
from tests.bench.packing_program import RECORDS
from tests.bench.workers import ROOT, Services

__all__ = ["count_instructions", "instructions", "sampling_share", "setting"]

RECORDED = Path(__file__).with_name("instruction_counts.json")
GROWTH = 1.02
FEWER, MORE = 2, 12
WHEELS = ("msgspec", "numpy", "orjson")


def instructions(_: Services) -> Iterator[Figure]:
    """Instructions of one record, against what was recorded."""
    recorded = json.loads(RECORDED.read_text()).get(setting())
    if recorded is None:
        print(f"No count is recorded for {setting()}: python -m tests.bench.instructions --record", flush=True)
    bar = None if recorded is None else recorded * GROWTH
    yield Figure("decoding and packing a record, recorded + 2 % at most", (count_instructions(),), "instrs", bar)


def sampling_share() -> float:
    """Instructions of looking for what is to be explained, of those of decoding and packing the same records.

    As in a worker's first seconds, which know no rates yet: more is picked then than later.

    Raises:
        BenchError: as `count_instructions`.
    """
    alone = _counted(MORE)
    packing = (alone - _counted(FEWER)) * MORE / (MORE - FEWER)
    return (_counted(MORE, "sampled") - alone) / packing


def setting() -> str:
    """What the count depends on, as one name."""
    wheels = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in WHEELS)
    return f"{platform.python_implementation()} {platform.python_version()} {platform.machine()}, {wheels}"


def count_instructions() -> float:
    """Instructions for a record, averaged over predictions and labels.

    Raises:
        BenchError: valgrind is not there, or the program failed.
    """
    return (_counted(MORE) - _counted(FEWER)) / ((MORE - FEWER) * RECORDS)


def _counted(repeats: int, *how: str) -> int:
    if shutil.which("valgrind") is None:
        raise BenchError("valgrind is not installed; run `make bench`, or `apt-get install valgrind`")
    valgrind = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    done = subprocess.run(
        [*valgrind, sys.executable, "-m", "tests.bench.packing_program", str(repeats), *how],
        # Without hashes that differ from run to run, and without threads that spin while they wait.
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    found = re.search(r"I\s+refs:\s+([\d,]+)", done.stdout)
    if done.returncode or found is None:
        raise BenchError(f"{' '.join(valgrind)} exited with {done.returncode}:\n{done.stdout[-2000:]}")
    return int(found[1].replace(",", ""))


def main() -> None:
    """Print the count; with `--record` keep it."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.instructions")
    parser.add_argument("--record", action="store_true", help="keep the count as the one to compare with")
    is_kept = parser.parse_args().record
    count = count_instructions()
    print(f"{setting()}: {count:,.0f} instructions a record")
    if is_kept:
        recorded = json.loads(RECORDED.read_text())
        RECORDED.write_text(json.dumps({**recorded, setting(): round(count)}, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
