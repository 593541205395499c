"""A receiver of alerts over HTTP that answers as a test tells it to, and remembers what it was sent."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from deploy.server_process import free_port
from tests.support.certificates import Certificates

__all__ = ["AlertReceiver", "Posted", "alert_receiver"]

HANG_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Posted:
    """One request."""

    path: str
    headers: dict[str, str]
    body: Any

    @property
    def status(self) -> str:
        """Of a webhook's body."""
        return str(self.body["status"])


@dataclass(slots=True)
class AlertReceiver:
    """Answers 200 unless told otherwise.

    `answer` gives status and text for each request; the status 0 stands for closing the connection without a word, -1
    for not answering at all.
    """

    port: int
    scheme: str = "http"
    answer: Callable[[Posted], tuple[int, str]] = lambda _: (200, "")
    answer_headers: dict[str, str] = field(default_factory=dict)
    posted: list[Posted] = field(default_factory=list)
    taken: list[Posted] = field(default_factory=list)
    """Those that were answered with success."""
    let_go: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """Of its root."""
        return f"{self.scheme}://127.0.0.1:{self.port}"


@contextlib.contextmanager
def alert_receiver(*, port: int | None = None, certificates: Certificates | None = None) -> Iterator[AlertReceiver]:
    """Listen on a free port until the block is left, with TLS if there are certificates."""
    receiver = AlertReceiver(port or free_port(), "http" if certificates is None else "https")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            posted = Posted(self.path, dict(self.headers.items()), json.loads(self.rfile.read(length)))
            receiver.posted.append(posted)
            status, text = receiver.answer(posted)
            if status <= 0:
                if status < 0:
                    receiver.let_go.wait(HANG_SECONDS)
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in receiver.answer_headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())
            if status // 100 == 2:
                receiver.taken.append(posted)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # clients that do not trust us, or do not wait

    server = Server(("127.0.0.1", receiver.port), Handler)
    if certificates is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.certificate, certificates.key)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.let_go.set()
        server.shutdown()
        thread.join()
        server.server_close()
