"""The local stack at the prompt: Kafka and Redis for as long as a command, or you, need them.

    python -m deploy.stack run -- COMMAND ...    start both, run COMMAND with their addresses, stop both
    python -m deploy.stack up                    start both, print the addresses, stop both on Ctrl-C

COMMAND finds the addresses in LATELABEL_KAFKA__BROKERS and LATELABEL_REDIS__URL. A service whose variable is
already set is used as it is and not started. Whatever ends the command or this program ends the servers too.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

from deploy.server_process import StackError, spawn_tethered
from deploy.servers import KafkaServer, RedisServer

__all__ = ["main"]

BROKERS_VARIABLE = "LATELABEL_KAFKA__BROKERS"
REDIS_VARIABLE = "LATELABEL_REDIS__URL"
REACH_SECONDS = 5.0


class _Interrupted(BaseException):
    """SIGINT, SIGTERM or SIGHUP came while no command was running."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _interrupt(number: int, _: FrameType | None) -> None:
    raise _Interrupted(number)


def _handle_signals(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handler)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _check_reachable(service: str, address: str, *, port: int, variable: str) -> None:
    """Connect once to a service that somebody else runs, to fail here with its address, not much later."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        if parts.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(parts.path)
        else:
            host = parts.hostname or "localhost"
            socket.create_connection((host, parts.port or port), timeout=REACH_SECONDS).close()
    except (OSError, ValueError) as error:
        remedy = f"start it, correct {variable}, or unset it to have one started here"
        raise StackError(f"{service} does not answer at {address} ({error}); {remedy}") from error


def _services(stack: ExitStack, folder: Path | None) -> dict[str, str]:
    """Start what is not given by the environment. Returns the variables that hold the addresses."""
    addresses = {name: os.environ.get(name, "") for name in (REDIS_VARIABLE, BROKERS_VARIABLE)}
    if addresses[REDIS_VARIABLE]:
        first = addresses[REDIS_VARIABLE].split(",")[0]
        _check_reachable("redis", first, port=6379, variable=REDIS_VARIABLE)
        _say(f"redis  in use at {urlsplit(first).hostname or first}")
    else:
        redis = stack.enter_context(RedisServer(folder and folder / "redis"))
        addresses[REDIS_VARIABLE] = redis.url
        _say(f"redis  ready at {redis.address}")
    if addresses[BROKERS_VARIABLE]:
        first = addresses[BROKERS_VARIABLE].split(",")[0]
        _check_reachable("kafka", first, port=9092, variable=BROKERS_VARIABLE)
        _say(f"kafka  in use at {addresses[BROKERS_VARIABLE]}")
    else:
        _say("kafka  starting, a few seconds")
        kafka = stack.enter_context(KafkaServer(folder and folder / "kafka"))
        addresses[BROKERS_VARIABLE] = kafka.address
        _say(f"kafka  ready at {kafka.address}")
    return addresses


def _run(command: Sequence[str], addresses: Mapping[str, str]) -> int:
    """Run the command, hand signals on to it and all it started, return its exit code as a shell would."""
    child = spawn_tethered(command, environment={**os.environ, **addresses}, death_signal=signal.SIGTERM)

    interrupted = False

    def forward(number: int, _: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = interrupted or number == signal.SIGINT
        _signal_group(child.pid, number)

    _handle_signals(forward)
    try:
        code = child.wait()
    finally:
        # From here on only stopping is left; a further Ctrl-C would leave it half done.
        _handle_signals(lambda *_: None)
        _signal_group(child.pid, signal.SIGKILL)
    if interrupted and code:
        # An interpreter that is interrupted before it has begun says 1.
        return 128 + signal.SIGINT
    return code if code >= 0 else 128 - code


def _signal_group(leader: int, number: int) -> None:
    try:
        os.killpg(leader, number)
    except ProcessLookupError:
        return


def _up(addresses: Mapping[str, str]) -> int:
    for name, value in addresses.items():
        print(f"export {name}={value}", flush=True)
    _say("Ctrl-C stops both.")
    signal.pause()
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns the command's exit code, 1 if a service is missing, or 128 plus the signal that ended it.
    """
    parser = argparse.ArgumentParser(
        prog="python -m deploy.stack", description="Kafka and Redis for as long as you need them."
    )
    actions = parser.add_subparsers(dest="action", required=True)
    run = actions.add_parser("run", help="start both, run a command with their addresses, stop both")
    up = actions.add_parser("up", help="start both and print their addresses until Ctrl-C")
    for action in (run, up):
        action.add_argument(
            "--dir", type=Path, help="keep the data here (default: a temporary folder, removed at the end)"
        )
    run.add_argument("command", nargs="+", metavar="COMMAND", help="after `--`")
    options = parser.parse_args(arguments)
    _handle_signals(_interrupt)
    try:
        with ExitStack() as stack:
            addresses = _services(stack, options.dir)
            return _run(options.command, addresses) if options.action == "run" else _up(addresses)
    except StackError as error:
        _say(f"error: {error}")
        return 1
    except _Interrupted as interrupted:
        return 128 + interrupted.number


if __name__ == "__main__":
    sys.exit(main())
