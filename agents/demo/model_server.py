"""The flights model behind HTTP, as somebody would put it into service: `python -m agents.demo.model_server FLIGHTS`.

    POST /predict  {"at": 12345}  ->  {"prediction": "late", "score": 0.31}

`at` counts the flights that the model has not learned from. With `--leak` each answer keeps a quarter of a megabyte for
ever, as a cache does that nobody bounds. The first line of output is the port.
"""

from __future__ import annotations

import argparse
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from agents.demo.classifier import LEARN_UNTIL, FlightModel, learn
from agents.demo.flights import Flight, read_flights

__all__ = ["main"]

LEAKED_BYTES = 256 << 10


class _Server(ThreadingHTTPServer):
    """Holds what requests need, and what leaks."""

    daemon_threads = True

    def __init__(self, model: FlightModel, flights: list[Flight], *, leaks: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.model = model
        self.flights = flights
        self.leaks = leaks
        self.held: list[bytes] = []


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        """Answer one request."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        (answer,) = self.server.model.predict([self.server.flights[asked["at"]]])
        if self.server.leaks:
            self.server.held.append(bytes(bytearray(b"x") * LEAKED_BYTES))
        body = json.dumps({"prediction": answer.prediction, "score": answer.score}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: a line for each request would hide the rest."""


def main() -> None:
    """Learn, say the port, serve until killed."""
    parser = argparse.ArgumentParser(prog="python -m agents.demo.model_server")
    parser.add_argument("flights", type=Path)
    parser.add_argument("--leak", action="store_true")
    arguments = parser.parse_args()
    flights = read_flights(arguments.flights)
    model = learn(flights)
    ahead = [flight for flight in flights if flight.scheduled_departure.date() >= LEARN_UNTIL]
    del flights
    with _Server(model, ahead, leaks=arguments.leak) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
