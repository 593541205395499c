"""One child process from the outside: asks, waits, kills, and says how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable

import msgspec

from agents.explain_settings import ExplainerSettings
from agents.explainer.child import EXIT_OUT_OF_MEMORY
from agents.explainer.jobs import LENGTH_BYTES, Job
from schemas.explanation import ExplainFailure
from streams.explanation.outcome import Outcome

__all__ = ["ChildFailed", "ChildLimits", "ChildProcess"]

LARGEST_ANSWER_BYTES = 64 << 20
PREPARING_FACTOR = 3
"""A process that begins loads libraries and the model, and draws neighbours, before it explains anything."""
MOST_READY = 64
"""Model versions; the neighbourhood of each takes some megabytes."""
GRACE_SECONDS = 5
"""After the parent's own deadline; then the child ends itself."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ChildLimits:
    """What a child may use. `seconds` is for one job."""

    memory_bytes: int
    open_files: int
    seconds: float

    @classmethod
    def of(cls, settings: ExplainerSettings) -> ChildLimits:
        """As the configuration has them."""
        return cls(
            memory_bytes=settings.memory_mib << 20,
            open_files=settings.open_files,
            seconds=settings.timeout_ms / 1000,
        )


class ChildFailed(Exception):
    """The child is gone. `reason` is what the explanation says if it goes on like this."""

    def __init__(self, reason: ExplainFailure, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ChildProcess:
    """Runs jobs one after the other; starts a fresh process whenever the last one is gone.

    `ready` has the name of the neighbourhood that the process has for a model and version.

    Args:
        turn: waited for before each job, if jobs have to.
    """

    def __init__(self, limits: ChildLimits, *, turn: Callable[[], Awaitable[None]] | None = None) -> None:
        self._limits = limits
        self._turn = turn
        self._process: Process | None = None
        self.ready: dict[tuple[str, str], str] = {}

    @property
    def pids(self) -> tuple[int, ...]:
        """The process, while there is one."""
        return () if self._process is None else (self._process.pid,)

    async def run(self, job: Job) -> list[Outcome]:
        """An outcome for each item; of a job without items, whether the model version is ready now, for which it may
        take longer.

        Raises: ChildFailed if the process ended, took too long or needed too much memory.
        """
        if self._turn is not None:
            await self._turn()
        if not job.items:
            # The process gives up the one that is replaced before it draws another.
            self.ready.pop(job.subject.named, None)
            if len(self.ready) >= MOST_READY:
                await self.stop()
        process = self._process = self._process or await self._start()
        seconds = self._limits.seconds if job.items else self._limits.seconds * PREPARING_FACTOR
        answer = b""
        try:
            async with asyncio.timeout(seconds):
                answer = await _exchange(process, msgspec.msgpack.encode(job))
            outcomes = _decoded(answer, max(len(job.items), 1))
        except TimeoutError:
            await self.stop()
            raise ChildFailed(
                ExplainFailure.TOO_SLOW,
                f"not done within {seconds:g} s; lower explain.samples or raise explainer.timeout",
            ) from None
        except (asyncio.IncompleteReadError, ConnectionError, ValueError, msgspec.DecodeError) as error:
            raise await self._post_mortem(process, error) from None
        except BaseException:
            await self.stop()
            raise
        if not job.items and outcomes[0].failure is None:
            self.ready[job.subject.named] = job.pool
        return outcomes

    async def stop(self) -> None:
        """End the process at once, and what the model has started in it."""
        process, self._process = self._process, None
        self.ready = {}
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    async def _start(self) -> Process:
        limits = self._limits
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agents.explainer.child"),
            *(
                str(limits.memory_bytes),
                str(limits.open_files),
                str(int(limits.seconds * PREPARING_FACTOR) + GRACE_SECONDS),
            ),
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            env=_environment(),
            start_new_session=True,
        )

    async def _post_mortem(self, process: Process, error: Exception) -> ChildFailed:
        if not isinstance(error, asyncio.IncompleteReadError | ConnectionError):
            await self.stop()
            return ChildFailed(ExplainFailure.CRASHED, f"the model's process answered nonsense: {error}")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await process.wait()
        code = process.returncode
        await self.stop()
        if code == EXIT_OUT_OF_MEMORY:
            return ChildFailed(
                ExplainFailure.OUT_OF_MEMORY,
                f"more than {self._limits.memory_bytes >> 20} MiB were needed; raise explainer.memory_mib",
            )
        how = f"ended with exit code {code}"
        if code is not None and code < 0:
            how = f"was ended by {signal.Signals(-code).name}"
        return ChildFailed(ExplainFailure.CRASHED, f"the model's process {how}")


async def _exchange(process: Process, frame: bytes) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(len(frame).to_bytes(LENGTH_BYTES) + frame)
    await process.stdin.drain()
    length = int.from_bytes(await process.stdout.readexactly(LENGTH_BYTES))
    if length > LARGEST_ANSWER_BYTES:
        raise ValueError(f"an answer of {length} bytes")
    return await process.stdout.readexactly(length)


def _decoded(answer: bytes, items: int) -> list[Outcome]:
    outcomes = msgspec.msgpack.decode(answer, type=list[Outcome])
    if len(outcomes) != items:
        raise ValueError(f"{len(outcomes)} outcomes for {items} items")
    return outcomes


def _environment() -> dict[str, str]:
    """Nothing of ours: no addresses, no passwords. One thread, so that a core is a core."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONPATH": ":".join(filter(None, sys.path)), **threads}
