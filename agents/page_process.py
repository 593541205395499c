"""The process that serves a worker's page, API, health and metrics: started, watched and ended by the worker.

    worker ── listening sockets, a socket to ask by ──> page        whoever asks meanwhile waits until it accepts
    page ends, or is silent ──> said, and started again after a second
    worker ends ──> the page ends too, however that came

Counting has a process to itself, so that no client can slow it down: the page takes processor time only where counting
leaves some, is the first to go when memory is short, and where it hangs or crashes counting goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from agents.settings import Settings
from agents.worker_link import SILENT_SECONDS, Told, tell

__all__ = ["PROGRAM", "PageProcess"]

_log = logging.getLogger(__name__)

PROGRAM = "agents.app_page"
AGAIN_SECONDS = 1.0
STOP_SECONDS = 1.5
"""For streams to be closed; then it is killed."""


class PageProcess:
    """Runs the page beside a worker.

    Args:
        listeners: where it listens; closed when `running` is left.
        environment: of the new process.
        told: what it is answered, given the settings that it has.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        environment: Mapping[str, str],
        told: Callable[[Settings | None], Told],
    ) -> None:
        self._listeners = listeners
        self._environment = environment
        self._told = told
        self.starts = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve for as long as the block runs."""
        task = asyncio.create_task(self._keep_running())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            for listener in self._listeners:
                listener.close()

    async def _keep_running(self) -> None:
        while True:
            try:
                _log.warning("The page's process %s; it is started again", await self._run())
            except Exception:  # noqa: BLE001  (a page is not worth a worker)
                _log.exception("The page's process is started again, because of an error that nobody expects")
            await asyncio.sleep(AGAIN_SECONDS)

    async def _run(self) -> str:
        """One process from its start to its end; returns how that came."""
        ours, theirs = socket.socketpair()
        with theirs:
            files = [listener.fileno() for listener in self._listeners]
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", PROGRAM, *map(str, files)),
                stdin=theirs.fileno(),
                pass_fds=files,
                env={**self._environment, "PYTHONPATH": ":".join(filter(None, sys.path))},
                # Ctrl-C is for the worker.
                start_new_session=True,
            )
        self.starts += 1
        try:
            reader, writer = await asyncio.open_unix_connection(sock=ours)
            with contextlib.closing(writer):
                with contextlib.suppress(ConnectionError):
                    await tell(reader, writer, self._told)
                return _how_it_ended(await process.wait())
        except TimeoutError:
            return f"was silent for {SILENT_SECONDS:g} s"
        finally:
            await _end(process)


async def _end(process: Process) -> None:
    """It ends by itself once nobody is at the other end of its socket."""
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _how_it_ended(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
