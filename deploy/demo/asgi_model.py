"""A model behind ASGI that watches itself: any server runs it, for example `uvicorn asgi_model:app`.

The probe begins and ends with the server. It sends to the Kafka that the configuration names (`LATELABEL_CONFIG`,
`./latelabel.yaml`, or `LATELABEL_KAFKA__BROKERS=host:9092`), from a thread of its own.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from agents.probe.probe import Probe

__all__ = ["app"]

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

probe = Probe(model="fraud", model_version="3")


async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """Answer every request, and run the probe for as long as the server does."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    body = json.dumps({"prediction": "ok"}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _live(receive: Receive, send: Send) -> None:
    await receive()  # lifespan.startup
    with probe:
        await send({"type": "lifespan.startup.complete"})
        await receive()  # lifespan.shutdown
    await send({"type": "lifespan.shutdown.complete"})
