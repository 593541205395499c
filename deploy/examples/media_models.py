"""Two small models of what scikit-learn brings along, to be explained: a text's subject, and a written digit.

They are trained where they are first asked, in a second or two, and served as `module:function`, which is how the
explainer asks a model of its own environment: texts or images in, probabilities out.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

__all__ = ["DIGITS", "HELD_OUT", "SUBJECTS", "digit", "digits", "sentences", "subject"]

SUBJECTS = ("cluster", "ensemble", "linear_model")
"""Packages of scikit-learn, whose documentation is read."""
DIGITS = tuple("0123456789")
DIGIT_SCALE = 20
"""Pixels a side that each of a digit's 8 by 8 becomes, so that there is something to take out."""
HELD_OUT = 5
"""Every fifth sentence and digit is left out of the training."""
WORDS = range(6, 25)
"""In a sentence."""


def sentences() -> list[tuple[str, str]]:
    """Sentences of the documentation, each with the package it is from."""
    found: dict[str, str] = {}
    for name in SUBJECTS:
        package = importlib.import_module(f"sklearn.{name}")
        for part in package.__all__:
            for sentence in re.split(r"(?<=[.:])\s+|\n\s*\n", inspect.getdoc(getattr(package, part)) or ""):
                words = re.findall(r"[A-Za-z][A-Za-z'-]+", sentence)
                if len(words) in WORDS:
                    # What stands in several packages tells nothing, and is left with the first.
                    found.setdefault(" ".join(words), name)
    return list(found.items())


def digits() -> list[tuple[npt.NDArray[np.uint8], str]]:
    """Written digits as grey images, each with the digit it is."""
    found = load_digits()
    grey = (found.images * (255 / 16)).astype(np.uint8)
    large = grey.repeat(DIGIT_SCALE, axis=1).repeat(DIGIT_SCALE, axis=2)
    return list(zip(large, map(str, found.target), strict=True))


def subject(texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """How likely each text is about each of `SUBJECTS`."""
    probabilities: npt.NDArray[np.float64] = _subject_model().predict_proba(texts)
    return probabilities


def digit(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """How likely each image, of shape (height, width, 3), is each of ten digits."""
    probabilities: npt.NDArray[np.float64] = _digit_model().predict_proba(_small(images[..., 0]))
    return probabilities


# The order of the outputs, and which model answers.
subject.classes, subject.version = SUBJECTS, "1"  # type: ignore[attr-defined]
digit.classes, digit.version = DIGITS, "1"  # type: ignore[attr-defined]


@functools.cache
def _subject_model() -> Any:
    texts, subjects = zip(*_trained_on(sentences()), strict=True)
    return make_pipeline(TfidfVectorizer(), LogisticRegression(C=10)).fit(texts, subjects)


@functools.cache
def _digit_model() -> Any:
    images, names = zip(*_trained_on(digits()), strict=True)
    return LogisticRegression(C=0.5, max_iter=500).fit(_small(np.stack(images)), names)


def _trained_on(found: list[Any]) -> list[Any]:
    return [each for at, each in enumerate(found) if at % HELD_OUT]


def _small(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Shape (images, 64): the mean of each square of pixels."""
    count, height, width = images.shape
    squares = images.reshape(count, height // DIGIT_SCALE, DIGIT_SCALE, width // DIGIT_SCALE, DIGIT_SCALE)
    small: npt.NDArray[np.float64] = squares.mean(axis=(2, 4)).reshape(count, -1) / 255
    return small
