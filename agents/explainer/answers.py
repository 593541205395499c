"""What a model's outputs mean: which column is which class, and what is odd about them."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from agents.explainer.jobs import Item, Subject
from agents.explainer.predictors import Predictor
from schemas.explanation import ExplainFailure, Note
from streams.explanation.refusal import Refused
from streams.monitored_model import Task

__all__ = ["Answers", "version_notes"]

SUM_SLACK = 1e-3
ANSWER_SLACK = 0.01
TOLD_OUTPUTS = 50


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Outputs of shape (rows, classes) with the class of each column; one column and no classes for a regression."""

    outputs: npt.NDArray[np.float64]
    classes: tuple[str, ...]

    @classmethod
    def of(cls, outputs: npt.NDArray[np.float64], subject: Subject, predictor: Predictor) -> Answers:
        """Name the columns.

        Raises: Refused with `unknown_class` if nobody says what they are.
        """
        columns = outputs.shape[1]
        if subject.task is Task.REGRESSION:
            if columns != 1:
                raise Refused(ExplainFailure.WRONG_SHAPE, f"a regression answers with one number, not {columns}")
            return cls(outputs, ())
        classes = subject.terms.classes or predictor.classes or subject.classes
        # A model that has seen one class only answers for that one, whichever it is.
        is_one_of_two = columns == 1 and len(classes) != 1
        if is_one_of_two and (positive := subject.positive_class or (classes[1] if len(classes) == 2 else None)):
            others = [name for name in classes if name != positive]
            negative = others[0] if len(others) == 1 else f"not {positive}"
            return cls(np.column_stack([1 - outputs, outputs]), (negative, positive))
        if len(classes) != columns:
            raise Refused(
                ExplainFailure.UNKNOWN_CLASS,
                f"the model gives {columns} outputs, and {len(classes)} classes are known ({', '.join(classes[:10])});"
                " list them in their order in explain.classes",
            )
        return cls(outputs, tuple(classes))

    def column_of(self, predicted: str | None, row: int) -> int:
        """The column that is explained: the predicted class, else the likeliest.

        Raises: Refused with `unknown_class`.
        """
        if not self.classes:
            return 0
        if predicted is None:
            return int(self.outputs[row].argmax())
        if predicted not in self.classes:
            raise Refused(
                ExplainFailure.UNKNOWN_CLASS,
                f"the prediction is {predicted!r}, the model's classes are {', '.join(self.classes[:10])};"
                " correct explain.classes or classes.aliases",
            )
        return self.classes.index(predicted)

    def told(self, row: int) -> dict[str, float] | None:
        """All outputs by class; None if there are no classes, or too many to tell."""
        if not 0 < len(self.classes) <= TOLD_OUTPUTS:
            return None
        return dict(zip(self.classes, self.outputs[row].tolist(), strict=True))

    def notes(self, row: int, column: int, item: Item) -> list[Note]:
        """What is odd about one answer. A model with a threshold of its own need not answer with its likeliest class,
        so what it answered before is compared where the prediction tells."""
        notes = []
        if self.classes:
            if abs(float(self.outputs[row].sum()) - 1) > SUM_SLACK:
                notes.append(Note.SUM_NOT_ONE)
            likeliest = self.classes[int(self.outputs[row].argmax())]
            differs = item.predicted is not None and likeliest != item.predicted
            if item.answered is not None:
                differs = abs(float(self.outputs[row, column]) - item.answered) > ANSWER_SLACK
            if differs:
                notes.append(Note.ANSWER_DIFFERS)
        return notes


def version_notes(subject: Subject, predictor: Predictor) -> list[Note]:
    """Whether the version that answered is the one that predicted; nothing to say if predictions name none."""
    if not subject.model_version or predictor.version == subject.model_version:
        return []
    return [Note.VERSION_UNKNOWN if predictor.version is None else Note.VERSION_DIFFERS]
