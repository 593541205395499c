"""Every way to ask a model, and every way in which asking goes wrong, with the reason that is published."""

from __future__ import annotations

import json
import pickle
import re
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from agents.explainer.guarded_http import with_version
from agents.explainer.jobs import Subject
from agents.explainer.predictors import Inputs, Table, predictor_of
from schemas.explanation import ExplainFailure
from streams.explanation.refusal import Refused
from streams.explanation.terms import ExplainTerms
from streams.monitored_model import Task
from tests.support.inference_server import InferenceServer, serving

NUMBERS = Table(("a", "b"), [np.array([1.0, 2.0, np.nan]), np.array([0.0, 5.0, 1.0])])
MIXED = Table(("a", "c"), [np.array([1.0, 2.0]), np.array(["x", None], dtype=object)])
ALLOWED = ("127.0.0.1",)


def model(rows: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Sure of the second class where the first feature is large; a missing one counts as 0."""
    first = np.array([0.0 if value is None or value == "" else float(value) for value in rows[:, 0]])
    return np.column_stack([1 / (1 + first), first / (1 + first)])


EXPECTED = [[0.5, 0.5], [1 / 3, 2 / 3], [1.0, 0.0]]


def subject(predictor: str, *, hosts: tuple[str, ...] = ALLOWED, seconds: float = 5.0, **terms: Any) -> Subject:
    return Subject(
        model="m",
        model_version="3",
        terms=ExplainTerms(predictor=predictor, **terms),
        task=Task.MULTICLASS,
        positive_class=None,
        classes=("no", "yes"),
        allowed_hosts=hosts,
        answer_seconds=seconds,
        answer_bytes=1 << 20,
    )


def refusal(predictor: str, inputs: Inputs = NUMBERS, **options: Any) -> Refused:
    with pytest.raises(Refused) as refused:
        predictor_of(subject(predictor, **options)).predict(inputs)
    assert refused.value.message.isprintable()
    return refused.value


# --- Open Inference Protocol -----------------------------------------------------------------------------------------


def test_server_that_describes_one_tensor_gets_one_and_its_probabilities_are_read() -> None:
    with serving(model, inputs=[{"name": "features", "datatype": "FP32", "shape": [-1, 2]}]) as server:
        predictor = predictor_of(subject(server.url))
        assert EXPECTED == predictor.predict(NUMBERS).tolist()
        assert "3" == predictor.version
        ((headers, body),) = server.asked
    assert "true" == headers["X-Latelabel-Synthetic"]
    assert {"latelabel_synthetic": True} == body["parameters"]
    assert [{"name": "predict_proba"}] == body["outputs"]
    (tensor,) = body["inputs"]
    assert ("features", "FP32", [3, 2]) == (tensor["name"], tensor["datatype"], tensor["shape"])
    assert [1.0, 0.0, 2.0, 5.0, None, 1.0] == tensor["data"]


def test_server_that_describes_an_input_per_feature_gets_them_by_name_and_type() -> None:
    described = [
        {"name": "c", "datatype": "BYTES", "shape": [-1, 1]},
        {"name": "a", "datatype": "INT64", "shape": [-1, 1]},
    ]
    with serving(model, inputs=described) as server:
        assert (2, 2) == predictor_of(subject(server.url)).predict(MIXED).shape
        inputs = {each["name"]: each for each in server.asked[0][1]["inputs"]}
    assert ["x", ""] == inputs["c"]["data"]
    assert [1, 2] == inputs["a"]["data"]
    assert [2, 1] == inputs["a"]["shape"]


def test_server_that_describes_nothing_gets_64_bit_floats() -> None:
    with serving(model) as server:
        assert EXPECTED == predictor_of(subject(server.url)).predict(NUMBERS).tolist()
        assert ("input-0", "FP64") == (
            server.asked[0][1]["inputs"][0]["name"],
            server.asked[0][1]["inputs"][0]["datatype"],
        )


def test_server_is_asked_and_read_as_the_guide_shows() -> None:
    guide = Path(__file__).resolve().parents[3] / "deploy/guides/explanations.md"
    asked, answered = map(json.loads, re.findall(r"^```json\n(.+?)^```", guide.read_text(), re.DOTALL | re.MULTILINE))
    (tensor,), (output,) = asked["inputs"], answered["outputs"]
    rows = np.reshape(tensor["data"], tensor["shape"])
    probabilities = np.reshape(output["data"], output["shape"]).tolist()
    with serving(lambda _: probabilities, version=answered["model_version"]) as server:
        predictor = predictor_of(subject(server.url))
        assert probabilities == predictor.predict(Table(("age", "amount", "hour"), list(rows.T))).tolist()
        assert answered["model_version"] == predictor.version
        ((_, body),) = server.asked
    assert asked["inputs"] == body["inputs"]


def test_many_rows_are_asked_about_in_several_questions() -> None:
    table = Table(("a",), [np.arange(2500.0)])
    with serving(model) as server:
        assert (2500, 2) == predictor_of(subject(server.url)).predict(table).shape
        assert [1000, 1000, 500] == [body["inputs"][0]["shape"][0] for _, body in server.asked]


def test_texts_are_sent_as_texts() -> None:
    with serving(lambda rows: [[0.5, 0.5]] * len(rows)) as server:
        assert (2, 2) == predictor_of(subject(server.url)).predict(["good", "bad"]).shape
        (tensor,) = server.asked[0][1]["inputs"]
    assert ("BYTES", ["good", "bad"]) == (tensor["datatype"], tensor["data"])


def test_images_are_sent_as_bytes_of_pixels() -> None:
    with serving(lambda rows: [[0.5, 0.5]] * len(rows)) as server:
        assert (2, 2) == predictor_of(subject(server.url)).predict(np.zeros((2, 3, 4, 3), dtype=np.uint8)).shape
        (tensor,) = server.asked[0][1]["inputs"]
    assert ("UINT8", [2, 3, 4, 3], 72) == (tensor["datatype"], tensor["shape"], len(tensor["data"]))


def test_version_of_the_prediction_is_asked_where_the_url_says_so() -> None:
    with serving(model) as server:
        assert EXPECTED == predictor_of(subject(server.url + "/versions/{version}")).predict(NUMBERS).tolist()


def test_version_cannot_lead_out_of_its_place_in_the_url() -> None:
    assert "http://h/v2/..%2F..%2Fadmin%3Fx%3D/m" == with_version("http://h/v2/{version}/m", "../../admin?x=")
    for version in ("", ".", ".."):
        with pytest.raises(Refused) as refused:
            with_version("http://h/v2/{version}/m", version)
        assert ExplainFailure.URL_NOT_ALLOWED == refused.value.reason


def test_output_that_there_is_not_is_refused_with_the_setting_that_names_it() -> None:
    with serving(lambda rows: [[1.0, 0.0]] * len(rows)) as server:
        server.misbehave = lambda handler: handler.command == "POST" and answer(handler, 200, {"outputs": []})
        refused = refusal(server.url, output="logits")
    assert ExplainFailure.WRONG_SHAPE == refused.reason
    assert "explain.output" in refused.message


# --- MLflow ----------------------------------------------------------------------------------------------------------


def test_mlflow_server_is_asked_with_named_columns() -> None:
    with serving(model) as server:
        predictor = predictor_of(subject(server.scoring_url))
        assert EXPECTED == predictor.predict(NUMBERS).tolist()
        (_, body) = server.asked[0]
    assert {"columns": ["a", "b"], "data": [[1.0, 0.0], [2.0, 5.0], [None, 1.0]]} == body["dataframe_split"]
    assert None is predictor.version


def test_mlflow_server_that_answers_by_class_names_its_classes() -> None:
    with serving(model) as server:
        server.misbehave = lambda handler: answer(handler, 200, {"predictions": [{"no": 0.25, "yes": 0.75}] * 3})
        predictor = predictor_of(subject(server.scoring_url))
        assert [[0.25, 0.75]] * 3 == predictor.predict(NUMBERS).tolist()
        assert ("no", "yes") == predictor.classes


def test_mlflow_answer_without_predictions_is_refused() -> None:
    with serving(model) as server:
        server.misbehave = lambda handler: answer(handler, 200, {"error": "x"})
        assert ExplainFailure.WRONG_SHAPE == refusal(server.scoring_url).reason


# --- what goes wrong over HTTP ---------------------------------------------------------------------------------------


def answer(handler: Any, status: int, body: Any) -> bool:
    handler.answer(status, body)
    return True


def redirect(handler: BaseHTTPRequestHandler) -> bool:
    handler.send_response(302)
    handler.send_header("Location", "http://169.254.169.254/latest/meta-data/")
    handler.send_header("Content-Length", "0")
    handler.end_headers()
    return True


def hang_up(handler: BaseHTTPRequestHandler) -> bool:
    handler.close_connection = True
    return True


def say_no_json(handler: BaseHTTPRequestHandler) -> bool:
    handler.send_response(200)
    handler.send_header("Content-Length", "4")
    handler.end_headers()
    handler.wfile.write(b"<ht\x1b")
    return True


def say_too_much(handler: BaseHTTPRequestHandler) -> bool:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(b"[" + b"0," * (1 << 20))
    handler.close_connection = True
    return True


@pytest.mark.parametrize(
    ("misbehave", "reason"),
    [
        (redirect, ExplainFailure.REDIRECTED),
        (hang_up, ExplainFailure.UNREACHABLE),
        (say_no_json, ExplainFailure.HTTP_ERROR),
        (say_too_much, ExplainFailure.TOO_LARGE),
        (lambda handler: answer(handler, 500, {"error": "out of order"}), ExplainFailure.HTTP_ERROR),
        (lambda handler: answer(handler, 200, {"predictions": [[0.5, 0.5]]}), ExplainFailure.WRONG_SHAPE),
        (lambda handler: answer(handler, 200, {"predictions": [["?", "!"]] * 3}), ExplainFailure.WRONG_SHAPE),
        (lambda handler: answer(handler, 200, {"predictions": [[float("nan"), 1]] * 3}), ExplainFailure.NOT_FINITE),
        (lambda handler: answer(handler, 200, {"predictions": [[-1e200, 1]] * 3}), ExplainFailure.NOT_FINITE),
        (lambda handler: answer(handler, 200, {"predictions": [[[0.5], [0.5]]] * 3}), ExplainFailure.WRONG_SHAPE),
    ],
    ids=[
        "redirect",
        "hang up",
        "no JSON",
        "too much",
        "error",
        "rows missing",
        "no numbers",
        "NaN",
        "beyond",
        "a cube",
    ],
)
def test_server_that_misbehaves_is_refused_for_its_reason(
    misbehave: Callable[[Any], bool], reason: ExplainFailure
) -> None:
    with serving(model) as server:
        server.misbehave = misbehave
        assert reason == refusal(server.scoring_url).reason


def test_server_that_does_not_answer_in_time_is_too_slow() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/invocations"
        refused = refusal(url, seconds=0.2)
    assert ExplainFailure.TOO_SLOW == refused.reason
    assert "0.2 s" in refused.message


def test_absent_server_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v2/models/m"
    assert ExplainFailure.UNREACHABLE == refusal(url).reason
    assert ExplainFailure.UNREACHABLE == refusal("http://no-such-host.invalid/invocations", hosts=()).reason


def test_server_that_has_given_up_an_idle_connection_is_asked_again() -> None:
    with serving(model) as server:
        predictor = predictor_of(subject(server.scoring_url))
        predictor.predict(NUMBERS)
        server.misbehave = _hang_up_once(server)
        assert EXPECTED == predictor.predict(NUMBERS).tolist()


def _hang_up_once(server: InferenceServer) -> Callable[[BaseHTTPRequestHandler], bool]:
    def misbehave(handler: BaseHTTPRequestHandler) -> bool:
        server.misbehave = lambda _: False
        return hang_up(handler)

    return misbehave


def test_server_that_stops_in_the_middle_of_an_answer_is_asked_again_over_another_connection() -> None:
    is_over = threading.Event()

    def stop_halfway(handler: BaseHTTPRequestHandler) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"{")
        is_over.wait(60)
        return hang_up(handler)

    with serving(model) as server:
        predictor = predictor_of(subject(server.scoring_url, seconds=0.5))
        server.misbehave = stop_halfway
        with pytest.raises(Refused, match="too_slow"):
            predictor.predict(NUMBERS)
        server.misbehave = lambda _: False
        assert EXPECTED == predictor.predict(NUMBERS).tolist()
        is_over.set()


def test_server_is_found_at_whichever_address_of_its_name_it_listens_and_where_it_moves_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    addresses = ["127.0.0.2", "127.0.0.1"]

    def resolve(_: str, port: int, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    with serving(model) as server:
        monkeypatch.setattr("agents.explainer.guarded_http.socket.getaddrinfo", _for("models.example", resolve))
        port = server.host.rpartition(":")[2]
        predictor = predictor_of(subject(f"http://models.example:{port}/invocations", hosts=("models.example",)))
        assert EXPECTED == predictor.predict(NUMBERS).tolist()
        addresses[:] = ["127.0.0.3"]
        server.misbehave = _hang_up_once(server)
        with pytest.raises(Refused, match="unreachable"):
            predictor.predict(NUMBERS)
        addresses[:] = ["127.0.0.1"]
        assert EXPECTED == predictor.predict(NUMBERS).tolist()
        addresses[:] = ["192.0.2.1", "169.254.169.254"]
        assert ExplainFailure.URL_NOT_ALLOWED == refusal("http://models.example/invocations", hosts=()).reason


def _for(name: str, resolve: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """Only this name resolves otherwise than it does."""
    usual = socket.getaddrinfo
    return lambda host, *given, **named: (resolve if host == name else usual)(host, *given, **named)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "[::1]", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]", "169.254.169.254"),
        *("[fe80::1]", "[fd00:ec2::254]", "224.0.0.1", "2130706433"),
    ],
)
def test_address_of_this_machine_or_of_metadata_services_is_not_asked_unless_it_is_listed(host: str) -> None:
    refused = refusal(f"http://{host}:9/invocations", hosts=())
    assert ExplainFailure.URL_NOT_ALLOWED == refused.reason
    assert "explainer.allowed_hosts" in refused.message


def test_with_a_list_of_hosts_no_other_is_asked() -> None:
    assert ExplainFailure.URL_NOT_ALLOWED == refusal("http://models.example/invocations", hosts=("a:1",)).reason
    with serving(model) as server:
        assert ExplainFailure.URL_NOT_ALLOWED == refusal(server.scoring_url, hosts=("127.0.0.1:1",)).reason
        assert EXPECTED == predictor_of(subject(server.scoring_url, hosts=(server.host,))).predict(NUMBERS).tolist()


def test_password_in_a_url_is_in_no_message() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://me:secret@127.0.0.1:{taken.getsockname()[1]}/invocations"
    refused = refusal(url)
    assert ExplainFailure.UNREACHABLE == refused.reason
    assert "secret" not in refused.message


# --- functions and files ---------------------------------------------------------------------------------------------


def test_function_gets_floats_where_all_features_are_numbers_and_objects_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "served_here.py").write_text(
        "def kinds(rows):\n    return [[float(rows.dtype == object), 1.0]] * len(rows)\n"
        "kinds.classes = ['no', 'yes']\nkinds.version = '3'\n"
        "def broken(rows):\n    raise ValueError('bad')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    predictor = predictor_of(subject("served_here:kinds"))
    assert [[0.0, 1.0]] * 3 == predictor.predict(NUMBERS).tolist()
    assert [[1.0, 1.0]] * 2 == predictor.predict(MIXED).tolist()
    assert (("no", "yes"), "3") == (predictor.classes, predictor.version)
    assert ExplainFailure.NOT_LOADABLE == refusal("served_here:absent").reason
    assert ExplainFailure.NOT_LOADABLE == refusal("no_such_module_at_all:f").reason


def test_predictor_that_is_nothing_known_is_refused_with_what_is() -> None:
    refused = refusal("model.h5")
    assert ExplainFailure.NOT_LOADABLE == refused.reason
    assert ".onnx, .skops" in refused.message


class _Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.canary, "executed"))


@pytest.mark.parametrize("name", ["model.pkl", "model.pickle", "model.joblib"])
def test_payload_of_a_pickle_is_never_executed_unless_pickles_are_allowed(tmp_path: Path, name: str) -> None:
    canary, file = tmp_path / "canary", tmp_path / name
    file.write_bytes(pickle.dumps(_Payload(canary)))
    refused = refusal(str(file))
    assert ExplainFailure.NOT_TRUSTED == refused.reason
    assert "allow_pickle" in refused.message
    assert not canary.exists()
    with pytest.raises((Refused, AttributeError)):
        predictor_of(subject(str(file), allow_pickle=True)).predict(NUMBERS)
    assert canary.exists(), "the payload does what it is here for"


def test_pickled_model_is_asked_for_its_probabilities_where_pickles_are_allowed(tmp_path: Path) -> None:
    file = tmp_path / "model.pkl"
    file.write_bytes(pickle.dumps(fitted()))
    predictor = predictor_of(subject(str(file), allow_pickle=True))
    rows = Table(("a", "b"), NUMBERS.columns[:2]).slice(0, 2)
    assert fitted().predict_proba(rows.matrix()).tolist() == predictor.predict(rows).tolist()
    assert ("0", "1") == predictor.classes
    file.write_bytes(b"no pickle")
    assert ExplainFailure.NOT_LOADABLE == refusal(str(file), allow_pickle=True).reason


def fitted() -> Any:
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(random_state=1).fit([[0, 1], [1, 0], [2, 2], [3, 0]], [0, 0, 1, 1])


def test_skops_file_is_opened_when_its_types_are_trusted(tmp_path: Path) -> None:
    import skops.io

    file = tmp_path / "model.skops"
    skops.io.dump(fitted(), file)
    refused = refusal(str(file))
    assert ExplainFailure.NOT_TRUSTED == refused.reason
    assert "sklearn.tree._tree.Tree" in refused.message
    predictor = predictor_of(subject(str(file), trusted=("sklearn.tree._tree.Tree",)))
    rows = NUMBERS.slice(0, 2)
    assert fitted().predict_proba(rows.matrix()).tolist() == predictor.predict(rows).tolist()
    file.write_bytes(b"no skops")
    assert ExplainFailure.NOT_LOADABLE == refusal(str(file)).reason


def test_onnx_file_is_run_with_one_input_or_one_per_feature(tmp_path: Path) -> None:
    one = tmp_path / "one.onnx"
    one.write_bytes(onnx_model(columns=("x",), width=2))
    table = NUMBERS.slice(0, 2)
    assert [[1.0, 0.0], [2.0, 5.0]] == predictor_of(subject(str(one))).predict(table).tolist()
    many = tmp_path / "many.onnx"
    many.write_bytes(onnx_model(columns=("b", "a"), width=1))
    assert [[0.0, 1.0], [5.0, 2.0]] == predictor_of(subject(str(many))).predict(table).tolist()
    assert ExplainFailure.WRONG_FEATURES == refusal(str(many), Table(("a", "z"), table.columns)).reason
    assert ExplainFailure.NOT_LOADABLE == refusal(str(many), table, output="logits").reason
    many.write_bytes(b"no model")
    assert ExplainFailure.NOT_LOADABLE == refusal(str(many)).reason


def onnx_model(*, columns: tuple[str, ...], width: int) -> bytes:
    """A model that answers with its inputs side by side."""
    from onnx import TensorProto, helper

    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, width]) for name in columns]
    output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, width * len(columns)])
    node = helper.make_node("Concat", list(columns), ["probabilities"], axis=1)
    graph = helper.make_graph([node], "side-by-side", inputs, [output])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())
