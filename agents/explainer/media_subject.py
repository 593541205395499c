"""Explains texts by their words and images by their super-pixels, with stock `lime`.

Nothing is learnt beforehand: neighbours are the instance with parts taken out, so each explanation draws its own, with
a seed that follows from the instance.
"""

from __future__ import annotations

import abc
import base64
import binascii
import hashlib
import io
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from agents.explainer.answers import Answers, version_notes
from agents.explainer.jobs import Item, Subject
from agents.explainer.predictors import Inputs, Predictor
from agents.explainer.stopwatch import TimedPredictor, timed_outcomes
from schemas.explanation import Attribution, ExplainFailure, Fit, Note
from streams.explanation.outcome import Outcome
from streams.explanation.refusal import Refused

__all__ = ["ImageSubject", "TextSubject", "png_of"]

MOST_WORDS = 20_000
MOST_CELLS = 20_000_000
"""Words times samples, which stock `lime` holds as 64-bit floats: longer texts get fewer samples."""
LEAST_SAMPLES = 200
MOST_PIXELS = 1_000_000
IMAGE_SAMPLES = 1000
"""At most: each is a whole image for the model."""
FLAT_LEVELS = 2.0
"""Of 255: super-pixels whose pixels differ less from their mean look the same behind it."""
NO_WEIGHT = 1e-9
"""Weights below are rounding: whatever is taken out, the model answers the same."""

Ask = Callable[[Any], npt.NDArray[np.float64]]


class _Explained(Protocol):
    """What `lime` gives back, as far as it is used here."""

    local_exp: Any
    intercept: Any
    local_pred: Any
    score: Any


class _MediaSubject(abc.ABC):
    """What texts and images have in common."""

    pool_ms = 0.0

    def __init__(self, subject: Subject, predictor: Predictor) -> None:
        self._subject = subject
        self._predictor = TimedPredictor(predictor)
        self._feature = subject.terms.features[0]

    def explain(self, items: Sequence[Item]) -> list[Outcome]:
        """See `ExplainedSubject`."""
        return timed_outcomes(items, self._explained, self._predictor)

    @abc.abstractmethod
    def _explained(self, item: Item) -> Outcome:
        """Explain one text or image."""

    def _answers(self, inputs: Inputs) -> Answers:
        return Answers.of(self._predictor.predict(inputs), self._subject, self._predictor)

    def _outcome(self, item: Item, answers: Answers, attributions: list[Attribution], fit: Fit) -> Outcome:
        column = answers.column_of(item.predicted, 0)
        is_constant = all(abs(each.weight) < NO_WEIGHT for each in attributions)
        constant = [Note.CONSTANT_ANSWER] if is_constant else []
        return Outcome(
            explained_class=answers.classes[column] if answers.classes else None,
            answer=float(answers.outputs[0, column]),
            outputs=answers.told(0),
            answered_version=self._predictor.version,
            attributions=tuple(attributions),
            fit=fit,
            notes=(*answers.notes(0, column, item), *version_notes(self._subject, self._predictor), *constant),
        )

    @staticmethod
    def _fit(explained: _Explained, column: int, *, samples: int, seed: int) -> Fit:
        def of(values: Any) -> float:
            return float(np.ravel(values[column] if isinstance(values, dict) else values)[0])

        return Fit(
            intercept=of(explained.intercept),
            local_prediction=of(explained.local_pred),
            r2=of(explained.score),
            stability=None,
            samples=samples,
            seed=seed,
            pool_id="",
        )


class TextSubject(_MediaSubject):
    """Texts: an attribution for each word, at the place where it stands first."""

    def _explained(self, item: Item) -> Outcome:
        from lime.lime_text import LimeTextExplainer

        text = item.features.get(self._feature)
        if not isinstance(text, str) or not text.strip():
            raise Refused(ExplainFailure.WRONG_FEATURES, f"feature {self._feature!r} is no text with words in it")
        words = len(set(text.split()))
        if words > MOST_WORDS:
            raise Refused(ExplainFailure.TOO_LARGE, f"a text of {words} words; up to {MOST_WORDS} are explained")
        samples = max(LEAST_SAMPLES, min(self._subject.terms.samples, MOST_CELLS // words))
        seed = _seed(text.encode())
        answers = self._answers([text])
        column = answers.column_of(item.predicted, 0)
        explained = LimeTextExplainer(random_state=seed, feature_selection="highest_weights").explain_instance(
            text,
            lambda texts: self._answers(list(texts)).outputs,
            labels=(column,),
            num_features=self._subject.terms.most_features,
            num_samples=samples,
        )
        string = explained.domain_mapper.indexed_string
        attributions = []
        for word_id, weight in explained.local_exp[column]:
            word, start = str(string.word(word_id)), int(np.ravel(string.string_position(word_id))[0])
            attributions.append(
                Attribution(
                    feature=word,
                    value=word,
                    rule=word,
                    weight=float(weight),
                    standard_error=None,
                    span=(start, start + len(word)),
                )
            )
        fit = self._fit(explained, column, samples=samples, seed=seed)
        return self._outcome(item, answers, attributions, fit)


class ImageSubject(_MediaSubject):
    """Images: an attribution for each super-pixel, with the box around it."""

    def _explained(self, item: Item) -> Outcome:
        from lime.lime_image import LimeImageExplainer
        from lime.wrappers.scikit_image import SegmentationAlgorithm

        image = _image(self._feature, item.features.get(self._feature))
        seed = _seed(image.tobytes())
        samples = min(self._subject.terms.samples, IMAGE_SAMPLES)
        answers = self._answers(image[None])
        column = answers.column_of(item.predicted, 0)
        # As stock `lime` does it by itself.
        segments = SegmentationAlgorithm("quickshift", kernel_size=4, max_dist=200, ratio=0.2, random_seed=seed % 1000)(
            image
        )
        explained = LimeImageExplainer(random_state=seed, feature_selection="highest_weights").explain_instance(
            image,
            lambda images: self._answers(np.asarray(images, dtype=np.uint8)).outputs,
            labels=(column,),
            top_labels=None,
            num_features=self._subject.terms.most_features,
            num_samples=samples,
            batch_size=32,
            hide_color=_hiding_color(image, segments),
            segmentation_fn=lambda _: segments,
            random_seed=seed % 1000,
        )
        attributions = []
        for segment, weight in explained.local_exp[column]:
            rows, columns = np.nonzero(explained.segments == segment)
            box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
            attributions.append(
                Attribution(
                    feature=f"super-pixel {segment}",
                    value=None,
                    rule=f"super-pixel {segment}, {len(rows)} pixels",
                    weight=float(weight),
                    standard_error=None,
                    box=box,
                )
            )
        fit = self._fit(explained, column, samples=samples, seed=seed)
        return self._outcome(item, answers, attributions, fit)


def _seed(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=4).digest())


def png_of(name: str, value: Any) -> bytes:
    """The image that is explained, as a file.

    Raises: Refused if the feature of this name holds none.
    """
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(_image(name, value)).save(file, "PNG")
    return file.getvalue()


def _image(name: str, value: Any) -> npt.NDArray[np.uint8]:
    """An image file in base64, or numbers from 0 to 255 by row and column, grey or of three colours.

    Raises: Refused.
    """
    try:
        image = _decoded(value) if isinstance(value, str) else np.asarray(value, dtype=np.float64)
    except (ValueError, TypeError, OSError, binascii.Error) as error:
        raise Refused(
            ExplainFailure.WRONG_FEATURES, f"feature {name!r} is no image file in base64 and no rows of pixels: {error}"
        ) from error
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    if image.ndim != 3 or image.shape[2] < 3 or not image.size:
        raise Refused(
            ExplainFailure.WRONG_FEATURES, f"feature {name!r} has the shape {image.shape}, not (height, width, colours)"
        )
    pixels = image.shape[0] * image.shape[1]
    if pixels > MOST_PIXELS:
        raise Refused(ExplainFailure.TOO_LARGE, f"an image of {pixels} pixels; up to {MOST_PIXELS} are explained")
    return np.clip(image[..., :3], 0, 255).astype(np.uint8)


def _hiding_color(image: npt.NDArray[np.uint8], segments: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8] | None:
    """What stands in for super-pixels that are taken out; None for the mean colour of each.

    Drawings and writing consist of flat areas, which their own mean would not hide: there it is the image's median,
    which is mostly the background.
    """
    differences = [
        np.abs(image[segments == segment] - image[segments == segment].mean(axis=0)).sum()
        for segment in np.unique(segments)
    ]
    if sum(differences) / image.size >= FLAT_LEVELS:
        return None
    median: npt.NDArray[np.uint8] = np.median(image.reshape(-1, 3), axis=0).astype(np.uint8)
    return median


def _decoded(value: str) -> npt.NDArray[np.float64]:
    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(value, validate=True))) as picture:
        if picture.width * picture.height > MOST_PIXELS:
            # Before it is unpacked: a small file may hold a very large image.
            raise Refused(
                ExplainFailure.TOO_LARGE,
                f"an image of {picture.width * picture.height} pixels; up to {MOST_PIXELS} are explained",
            )
        return np.asarray(picture.convert("RGB"), dtype=np.float64)
