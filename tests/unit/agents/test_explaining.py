"""Texts, images, trees and linear models, explained in memory; and what is refused of each."""

from __future__ import annotations

import base64
import io
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsClassifier

from agents.explainer.explaining import Explaining
from agents.explainer.jobs import Item, Job, Subject
from schemas.explanation import ExplainFailure, Note
from streams.explanation.features import learn
from streams.explanation.outcome import Outcome
from streams.explanation.terms import ExplainTerms, InputKind, Method, MissingValues
from streams.monitored_model import Task

FUNCTIONS = """
import numpy as np

def mood(texts):
    good = np.array([0.9 if "splendid" in text else 0.2 for text in texts])
    return np.column_stack([1 - good, good])

def bright(images):  # on the left
    share = (images[:, :, : images.shape[2] // 2, 0] > 240).mean(axis=(1, 2))
    return np.column_stack([1 - share, share])

def loose(rows):
    return np.column_stack([rows[:, 0], rows[:, 0]])

def same(rows):
    return np.full((len(rows), 2), 0.5)

def three(rows):
    return np.full((len(rows), 3), 1 / 3)
"""


@pytest.fixture(autouse=True)
def _functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "asked_here.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "asked_here", raising=False)


def explain(
    given: Mapping[str, Any],
    *,
    predictor: str,
    predicted: str | None = "yes",
    background: list[dict[str, Any]] | None = None,
    task: Task = Task.MULTICLASS,
    positive_class: str | None = None,
    pool: str = "p",
    **terms: Any,
) -> Outcome:
    subject = Subject(
        model="m",
        model_version="",
        terms=ExplainTerms(predictor=predictor, **{"samples": 500, **terms}),
        task=task,
        positive_class=positive_class,
        classes=("no", "yes"),
        allowed_hosts=(),
        answer_seconds=5,
        answer_bytes=1 << 20,
    )
    items = [Item(features=given, predicted=predicted)]
    job = Job(subject=subject, pool=pool, background=background or [], items=items)
    # As it would go to another process and come back.
    (outcome,) = Explaining().explain(msgspec.msgpack.decode(msgspec.msgpack.encode(job), type=Job))
    return msgspec.msgpack.decode(msgspec.msgpack.encode(outcome), type=Outcome)


def text(content: Any, **options: Any) -> Outcome:
    return explain({"text": content}, predictor="asked_here:mood", input=InputKind.TEXT, features=("text",), **options)


def test_word_that_decided_about_a_text_is_found_where_it_stands() -> None:
    outcome = text("What a splendid day, in all, for a walk")
    assert None is outcome.failure, outcome.message
    first = outcome.attributions[0]
    assert ("splendid", (7, 15)) == (first.feature, first.span)
    assert first.weight > 0.5
    assert all(abs(other.weight) < 0.1 for other in outcome.attributions[1:])
    again = text("What a splendid day, in all, for a walk")
    assert outcome.attributions == again.attributions


def test_text_of_ten_thousand_words_is_explained() -> None:
    outcome = text(" ".join(f"w{number}" for number in range(10_000)) + " splendid", samples=200)
    assert None is outcome.failure, outcome.message
    assert outcome.attributions


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", ExplainFailure.WRONG_FEATURES),
        (7, ExplainFailure.WRONG_FEATURES),
        (" ".join(map(str, range(20_001))), ExplainFailure.TOO_LARGE),
    ],
    ids=["empty", "number", "too long"],
)
def test_what_is_no_text_to_explain_is_refused(content: Any, reason: ExplainFailure) -> None:
    assert reason == text(content).failure


def image(content: Any, **options: Any) -> Outcome:
    return explain(
        {"image": content}, predictor="asked_here:bright", input=InputKind.IMAGE, features=("image",), samples=200,
        **options,
    )  # fmt: skip


def picture(width: int, height: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[::2, : width // 2] = [255, 200, 30]
    pixels[:, width // 2 :] = [20, 60, 200]
    return pixels


def png(pixels: np.ndarray[Any, Any]) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return base64.b64encode(file.getvalue()).decode()


@pytest.mark.parametrize("as_file", [True, False])
def test_half_of_an_image_that_decided_is_found(as_file: bool) -> None:
    pixels = picture(48, 32)
    outcome = image(png(pixels) if as_file else pixels.tolist())
    assert None is outcome.failure, outcome.message
    first = outcome.attributions[0]
    assert isinstance(first.box, tuple)
    left, _, right, bottom = first.box
    assert left < 24
    assert 0 < right <= 48
    assert bottom <= 32


def test_drawing_of_flat_areas_is_hidden_behind_its_background_and_not_behind_itself() -> None:
    pixels = np.zeros((40, 40, 3), dtype=np.uint8)
    pixels[12:28, 12:28] = 255
    outcome = image(pixels.tolist())
    first = outcome.attributions[0]
    assert isinstance(first.box, tuple)
    left, top, right, bottom = first.box
    assert first.weight > 0.01
    assert max(left, 12) < min(right, 28)
    assert max(top, 12) < min(bottom, 28)


def test_image_and_text_that_the_model_always_answers_the_same_say_so() -> None:
    blank = image(np.zeros((30, 30), dtype=np.uint8).tolist())
    assert Note.CONSTANT_ANSWER in blank.notes
    assert Note.CONSTANT_ANSWER not in image(png(picture(48, 32))).notes


def test_image_of_four_megapixels_is_refused_before_it_is_unpacked() -> None:
    outcome = image(png(np.zeros((2000, 2000, 3), dtype=np.uint8)))
    assert ExplainFailure.TOO_LARGE == outcome.failure
    assert "4000000 pixels" in outcome.message


@pytest.mark.parametrize("content", ["no base64!", base64.b64encode(b"no image").decode(), [[[[1]]]], "", None])
def test_what_is_no_image_is_refused(content: Any) -> None:
    assert ExplainFailure.WRONG_FEATURES == image(content).failure


# --- SHAP ------------------------------------------------------------------------------------------------------------

VALUES = np.random.default_rng(8).normal(size=(200, 3))
ROWS = [dict(zip("abc", row, strict=True)) for row in VALUES.tolist()]


def shap(folder: Path, model: Any, **options: Any) -> Outcome:
    file = folder / "model.pkl"
    file.write_bytes(pickle.dumps(model))
    return explain(
        ROWS[0], predictor=str(file), allow_pickle=True, method=Method.SHAP, background=ROWS, features=("a", "b", "c"),
        **options,
    )  # fmt: skip


def test_forest_is_explained_by_shares_that_sum_to_its_answer(tmp_path: Path) -> None:
    labels = np.where(VALUES[:, 1] > 0, "yes", "no")
    model = RandomForestClassifier(20, random_state=1).fit(VALUES, labels)
    predicted = str(model.predict(VALUES[:1])[0])
    outcome = shap(tmp_path, model, predicted=predicted)
    assert None is outcome.failure, outcome.message
    assert ("shap", "b", predicted) == (outcome.method, outcome.attributions[0].feature, outcome.explained_class)
    assert outcome.attributions[0].weight > 0.2
    assert outcome.fit is not None
    assert outcome.fit.local_prediction == pytest.approx(outcome.answer, abs=1e-6)


def test_linear_model_is_explained_by_its_weights(tmp_path: Path) -> None:
    model = LinearRegression().fit(VALUES, VALUES @ [2.0, 0.0, -1.0])
    outcome = shap(tmp_path, model, predicted=None, task=Task.REGRESSION)
    assert None is outcome.failure, outcome.message
    by_name = {each.feature: each.weight for each in outcome.attributions}
    mean = VALUES[:100].mean(axis=0)
    assert by_name["a"] == pytest.approx(2.0 * (VALUES[0, 0] - mean[0]), abs=1e-6)
    assert by_name["b"] == pytest.approx(0.0, abs=1e-6)


def test_model_that_shap_does_not_know_is_refused_with_the_other_method(tmp_path: Path) -> None:
    labels = np.where(VALUES[:, 1] > 0, "yes", "no")
    outcome = shap(tmp_path, KNeighborsClassifier().fit(VALUES, labels))
    assert ExplainFailure.NOT_LOADABLE == outcome.failure
    assert "explain.method: lime" in outcome.message


# --- what is odd about answers ---------------------------------------------------------------------------------------


def test_probabilities_that_do_not_sum_to_one_are_explained_and_noted() -> None:
    outcome = explain(ROWS[0], predictor="asked_here:loose", background=ROWS)
    assert None is outcome.failure
    assert Note.SUM_NOT_ONE in outcome.notes


def test_model_of_one_answer_is_explained_and_noted() -> None:
    outcome = explain(ROWS[0], predictor="asked_here:same", background=ROWS)
    assert Note.CONSTANT_ANSWER in outcome.notes
    assert outcome.fit is not None
    assert None is outcome.fit.r2


@pytest.mark.parametrize("positive_class", [None, "yes"])
def test_model_that_has_seen_one_class_answers_for_that_class(tmp_path: Path, positive_class: str | None) -> None:
    file = tmp_path / "model.pkl"
    file.write_bytes(pickle.dumps(RandomForestClassifier(3, random_state=1).fit(VALUES, ["no"] * len(VALUES))))
    outcome = explain(
        ROWS[0], predictor=str(file), allow_pickle=True, background=ROWS, predicted="no", task=Task.BINARY,
        positive_class=positive_class,
    )  # fmt: skip
    assert None is outcome.failure, outcome.message
    assert ("no", 1.0, {"no": 1.0}) == (outcome.explained_class, outcome.answer, outcome.outputs)
    assert Note.CONSTANT_ANSWER in outcome.notes


def test_outputs_that_are_no_known_classes_are_refused_with_the_setting() -> None:
    outcome = explain(ROWS[0], predictor="asked_here:three", background=ROWS)
    assert ExplainFailure.UNKNOWN_CLASS == outcome.failure
    assert "explain.classes" in outcome.message
    outcome = explain(ROWS[0], predictor="asked_here:same", background=ROWS, predicted="perhaps")
    assert ExplainFailure.UNKNOWN_CLASS == outcome.failure


def test_statistics_are_made_as_the_guide_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guide = (Path(__file__).resolve().parents[3] / "deploy/guides/explanations.md").read_text()
    (code,) = re.findall(r"^```python\n(.+?)^```", guide, re.DOTALL | re.MULTILINE)
    code, replaced = re.subn(r"^rows = \[(.+), \.\.\.\]", r"rows = [\1] * 20", code, flags=re.MULTILINE)
    assert 1 == replaced
    monkeypatch.chdir(tmp_path)
    exec(code)
    read = {"amount": 99.5, "country": "FR"}
    outcome = explain(read, predictor="asked_here:same", statistics="statistics.json", features=("amount", "country"))
    assert None is outcome.failure, outcome.message
    assert {"amount", "country"} == {each.feature for each in outcome.attributions}


def test_neighbours_of_another_pool_are_others_also_where_the_statistics_are_the_same(tmp_path: Path) -> None:
    file = tmp_path / "statistics.json"
    file.write_bytes(msgspec.json.encode(learn(ROWS, names=("a", "b", "c"))))
    fits = [
        explain(ROWS[0], predictor="asked_here:loose", statistics=str(file), pool=pool).fit
        for pool in ("1 m 1", "1 m 1", "2 m 1")
    ]
    one, same, other = [None if fit is None else (fit.pool_id, fit.seed) for fit in fits]
    assert one == same
    assert one is not None
    assert other is not None
    assert one[0] != other[0]
    assert one[1] != other[1]


def test_statistics_from_a_file_need_no_background(tmp_path: Path) -> None:
    file = tmp_path / "statistics.json"
    file.write_bytes(msgspec.json.encode(learn(ROWS, names=("a", "b", "c"))))
    outcome = explain(ROWS[0], predictor="asked_here:loose", statistics=str(file))
    assert None is outcome.failure, outcome.message
    assert "a" == outcome.attributions[0].feature
    file.write_text("{}")
    assert ExplainFailure.NO_BACKGROUND == explain(ROWS[0], predictor="asked_here:loose", statistics=str(file)).failure


def test_list_as_a_feature_is_refused_and_too_few_predictions_are_too() -> None:
    outcome = explain({**ROWS[0], "a": [1]}, predictor="asked_here:loose", background=ROWS)
    assert ExplainFailure.WRONG_FEATURES == outcome.failure
    outcome = explain(ROWS[0], predictor="asked_here:loose", background=ROWS[:5])
    assert ExplainFailure.NO_BACKGROUND == outcome.failure


def test_missing_number_without_bins_cannot_be_kept() -> None:
    outcome = explain(
        {**ROWS[0], "a": None}, predictor="asked_here:same", background=ROWS, discretizer="none",
        missing=MissingValues.KEEP,
    )  # fmt: skip
    assert ExplainFailure.MISSING_VALUES == outcome.failure
    assert "explain.discretizer" in outcome.message
