"""The process in which models run: limited in memory, files and time, without secrets, gone with its parent.

    python -m agents.explainer.child MEMORY_BYTES OPEN_FILES SECONDS < jobs > outcomes

Whatever a model does here ends this process at worst. Standard output carries frames, so what a model prints goes to
standard error.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from pathlib import Path
from typing import BinaryIO

import msgspec

from agents.explainer.jobs import Job, read_frame, write_frame

__all__ = ["EXIT_OUT_OF_MEMORY", "main", "serve"]

EXIT_OUT_OF_MEMORY = 70


def main() -> None:
    """Set the limits, then answer jobs until there are no more."""
    memory_bytes, open_files, seconds = map(int, sys.argv[1:4])
    _be_nice_as_a_session()
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    jobs = os.fdopen(os.dup(0), "rb")
    outcomes = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    serve(jobs, outcomes, seconds=seconds)


def _be_nice_as_a_session() -> None:
    """Linux may share processors between sessions rather than processes; this one's session is of its own."""
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(os.nice(0)))


def serve(jobs: BinaryIO, outcomes: BinaryIO, *, seconds: int) -> None:
    """Answer every job; one that takes longer than `seconds` ends the process, should nobody else do so."""
    from agents.explainer.explaining import Explaining

    explaining = Explaining()
    decode = msgspec.msgpack.Decoder(Job).decode
    while (frame := read_frame(jobs)) is not None:
        signal.alarm(seconds)
        try:
            found = explaining.explain(decode(frame))
        except MemoryError:
            os._exit(EXIT_OUT_OF_MEMORY)
        signal.alarm(0)
        write_frame(outcomes, msgspec.msgpack.encode(found))


if __name__ == "__main__":
    main()
