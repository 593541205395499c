"""Runs `latelabel` commands as child processes that never outlive the demo.

The commands are those that anybody would type, in processes of their own, so that what is shown is the
product and not a library call. Whatever ends the demo (an error, Ctrl-C, SIGTERM), a child is asked to stop,
is given the time that a worker may take, and is killed after that.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import TypeVar

__all__ = ["CommandFailed", "Commands", "stop"]

STOP_SECONDS = 12.0
"""A worker promises to be gone within 10 seconds of SIGTERM."""

LOG_LINES = 15

T = TypeVar("T")


class CommandFailed(Exception):
    """A child process ended with an error, or ended although it should run."""

    def __init__(self, command: str, code: int | None, log: Path) -> None:
        lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:] if log.exists() else []
        super().__init__("\n".join([f"`{command}` ended with exit code {code}:", *(f"  {line}" for line in lines)]))


class Commands:
    """Starts commands of this installation with one configuration; their output goes to files of `folder`."""

    def __init__(self, *, configuration: Path, folder: Path) -> None:
        self._configuration = configuration
        self._folder = folder

    @contextlib.asynccontextmanager
    async def running(self, *arguments: str, output: Path | None = None) -> AsyncIterator[Process]:
        """Run `latelabel ARGUMENTS` for as long as the block lasts.

        Args:
            arguments: of the command line, without `--config`.
            output: where standard output goes; by default into the log with the errors.
        """
        log = self._log(arguments)
        with log.open("wb") as errors, contextlib.ExitStack() as files:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "agents", "--config", str(self._configuration), *arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=files.enter_context(output.open("wb")) if output else errors,
                stderr=errors,
            )
            try:
                yield process
            finally:
                await stop(process)

    async def run(self, *arguments: str, output: Path | None = None) -> None:
        """Run a command to its end.

        Raises:
            CommandFailed: it ended with an error.
        """
        async with self.running(*arguments, output=output) as process:
            if code := await process.wait():
                raise self._failure(arguments, code)

    async def watch(self, process: Process, *arguments: str, during: Awaitable[T]) -> T:
        """Await `during`, and fail at once if the process ends before it.

        Raises:
            CommandFailed: the process ended.
        """
        work = asyncio.ensure_future(during)
        end = asyncio.ensure_future(process.wait())
        try:
            await asyncio.wait((work, end), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise self._failure(arguments, process.returncode)
            return await work
        finally:
            work.cancel()
            end.cancel()
            await asyncio.gather(work, end, return_exceptions=True)

    def _log(self, arguments: tuple[str, ...]) -> Path:
        return self._folder / ("-".join(word.strip("-") for word in arguments) + ".log")

    def _failure(self, arguments: tuple[str, ...], code: int | None) -> CommandFailed:
        return CommandFailed(" ".join(("latelabel", *arguments)), code, self._log(arguments))


async def stop(process: Process) -> None:
    """End a child: SIGTERM, and SIGKILL if it is still there after `STOP_SECONDS`."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
