"""Explain a text and an image that small models got wrong, without any service.

    python -m deploy.examples.explain_media text --picture text.html
    python -m deploy.examples.explain_media image --picture image.html

What runs in the explainer's child process runs here: the same explainers for texts and images, the same words and the
same page as `latelabel explain`. With Kafka, the configuration that the guide on explanations shows does the same.
"""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agents.explainer.explaining import Explaining
from agents.explainer.in_words import in_words
from agents.explainer.jobs import Item, Job, Subject
from agents.explainer.media_subject import png_of
from agents.explainer.picture import page_of
from deploy.examples import media_models
from schemas.explain_request import ExplainRequest, WhyAsked
from schemas.explanation import Explanation
from streams.explanation.outcome import explanation_of
from streams.explanation.terms import ExplainTerms, InputKind
from streams.monitored_model import Task

__all__ = ["explained", "surest_mistake"]

SAMPLES = 1000


def surest_mistake(kind: InputKind) -> tuple[Any, str, str]:
    """Of what the model was not trained on, what it got wrong and was surest of: input, answer, truth."""
    held_out: Sequence[tuple[Any, str]] = media_models.sentences() if kind is InputKind.TEXT else media_models.digits()
    inputs, truths = zip(*held_out[:: media_models.HELD_OUT], strict=True)
    if kind is InputKind.TEXT:
        classes: tuple[str, ...] = media_models.SUBJECTS
        shares = media_models.subject(inputs)
    else:
        classes = media_models.DIGITS
        shares = media_models.digit(np.stack(inputs)[..., None].repeat(3, axis=3))
    wrong = [
        (float(share.max()), at)
        for at, (share, truth) in enumerate(zip(shares, truths, strict=True))
        if classes[share.argmax()] != truth
    ]
    _, chosen = max(wrong)
    return inputs[chosen], classes[shares[chosen].argmax()], truths[chosen]


def explained(kind: InputKind) -> tuple[Explanation, dict[str, Any]]:
    """The explanation of that mistake, and the text or the image as `page_of` takes it."""
    value, answer, truth = surest_mistake(kind)
    name, function = ("text", "subject") if kind is InputKind.TEXT else ("image", "digit")
    features = {name: value if kind is InputKind.TEXT else value.tolist()}
    terms = ExplainTerms(
        predictor=f"{media_models.__name__}:{function}", input=kind, features=(name,), samples=SAMPLES, most_features=6
    )
    subject = Subject(
        model=function,
        model_version="1",
        terms=terms,
        task=Task.MULTICLASS,
        positive_class=None,
        classes=(),
        allowed_hosts=(),
        answer_seconds=60.0,
        answer_bytes=1 << 26,
    )
    item = Item(features=features, predicted=answer)
    with contextlib.redirect_stderr(io.StringIO()):  # where `lime` draws a bar, as in the child process
        (outcome,) = Explaining().explain(Job(subject=subject, pool="example", background=(), items=[item]))
    request = ExplainRequest(
        request_id="example",
        model=function,
        model_version="1",
        topic="predictions",
        partition=0,
        offset=0,
        reason=WhyAsked.ASKED,
        predicted=answer,
        label=truth,
    )
    explanation = explanation_of(
        request, outcome, features=features, prediction=None, segments=(), terms=terms, now_ms=0
    )
    return explanation, {name: value if kind is InputKind.TEXT else png_of(name, features[name])}


def main() -> None:
    """Explain, print, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["text", "image"])
    parser.add_argument("--picture", type=Path, help="where to draw it, as an HTML page that needs nothing else")
    arguments = parser.parse_args()
    explanation, media = explained(InputKind(arguments.kind))
    print(in_words(explanation))
    if arguments.picture is not None:
        arguments.picture.write_text(page_of(explanation, **media), encoding="utf-8")
        print(f"Drawn to {arguments.picture}")


if __name__ == "__main__":
    main()
