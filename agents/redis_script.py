"""A Lua script of `agents/lua` that is called by its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any

from redis import exceptions as redis_errors

from agents.commit_arguments import Argument
from agents.redis_connection import RedisClient

__all__ = ["RedisScript", "pairs_of"]


class RedisScript:
    """A script known to the server by its digest; a server that does not know it is taught it by the call.

    Args:
        files: their names without `.lua`, in the order in which they make up the script.
    """

    def __init__(self, *files: str) -> None:
        source = resources.files("agents.lua")
        self._text = "\n".join(source.joinpath(f"{name}.lua").read_text() for name in files)
        self._digest = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, client: RedisClient, keys: Sequence[str], *arguments: Argument) -> Any:
        """Call it; inside `redis_failures`."""
        try:
            return await client.evalsha(self._digest, len(keys), *keys, *arguments)
        except redis_errors.NoScriptError:
            pass
        # To the keys' own node: loading on all nodes of a cluster would fail while any of them is away.
        return await client.eval(self._text, len(keys), *keys, *arguments)


def pairs_of(flat: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """The pairs that a script answers with one after the other."""
    return zip(flat[::2], flat[1::2], strict=True)
