"""A small model server of our own: Open Inference Protocol v2 and MLflow's scoring, written to their specifications.

It answers for the model that a test gives it, and misbehaves on request.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

__all__ = ["InferenceServer", "serving"]

Model = Callable[[Any], Any]


class InferenceServer(ThreadingHTTPServer):
    """Serves `model` at `/v2/models/NAME` and `/invocations`.

    Attributes:
        model: takes a 2-D array, gives probabilities of shape (rows, classes).
        inputs: what its metadata say; None answers 404 to that question.
        asked: headers and body of every question.
        misbehave: called before an answer; may take the handler over by returning True.
    """

    daemon_threads = True

    def __init__(self, model: Model, *, inputs: list[dict[str, Any]] | None, version: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.model = model
        self.inputs = inputs
        self.version = version
        self.asked: list[tuple[dict[str, str], Any]] = []
        self.misbehave: Callable[[BaseHTTPRequestHandler], bool] = lambda _: False

    @property
    def host(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def url(self) -> str:
        """Of the model, by the Open Inference Protocol."""
        return f"http://{self.host}/v2/models/m"

    @property
    def scoring_url(self) -> str:
        """Of the model, by MLflow's."""
        return f"http://{self.host}/invocations"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: InferenceServer

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        if self.server.misbehave(self):
            return
        if self.server.inputs is None or not self.path.startswith("/v2/models/m"):
            self.answer(404, {"error": "no such model"})
            return
        outputs = [{"name": "predict", "datatype": "INT64", "shape": [-1]}]
        outputs.append({"name": "predict_proba", "datatype": "FP64", "shape": [-1, 2]})
        self.answer(200, {"name": "m", "platform": "test", "inputs": self.server.inputs, "outputs": outputs})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((dict(self.headers), body))
        if self.server.misbehave(self):
            return
        if self.path == "/invocations":
            rows = np.array(body["dataframe_split"]["data"], dtype=object)
            self.answer(200, {"predictions": np.asarray(self.server.model(rows)).tolist()})
        elif self.path.endswith("/infer"):
            self.answer(200, self.inferred(body))
        else:
            self.answer(404, {"error": "unknown path"})

    def inferred(self, body: dict[str, Any]) -> dict[str, Any]:
        columns = [np.array(each["data"], dtype=object).reshape(each["shape"]) for each in body["inputs"]]
        answers = np.asarray(self.server.model(np.concatenate(columns, axis=1)), dtype=np.float64)
        by_name = {
            "predict": ("INT64", answers.argmax(axis=1)),
            "predict_proba": ("FP64", answers),
        }
        wanted = [each["name"] for each in body.get("outputs", [])] or list(by_name)
        outputs = [
            {"name": name, "datatype": by_name[name][0], "shape": list(by_name[name][1].shape),
             "data": by_name[name][1].reshape(-1).tolist()}
            for name in wanted
        ]  # fmt: skip
        return {"model_name": "m", "model_version": self.server.version, "id": body.get("id"), "outputs": outputs}

    def answer(self, status: int, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(content)


def never_answer(_: BaseHTTPRequestHandler) -> bool:
    """Misbehave by being slow."""
    time.sleep(30)
    return True


@contextlib.contextmanager
def serving(
    model: Model, *, inputs: list[dict[str, Any]] | None = None, version: str = "3"
) -> Iterator[InferenceServer]:
    """A server for the block."""
    server = InferenceServer(model, inputs=inputs, version=version)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
