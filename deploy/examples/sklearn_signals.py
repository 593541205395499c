"""Signals of scikit-learn's classifiers, and a prediction as it is published with them.

    model = RandomForestClassifier().fit(known, labels)
    for row, signals in zip(rows, forest_signals(model, rows)): publish({..., "signals": signals})

- `margin` of any classifier with probabilities: that of the best class less that of the second; 0 where it cannot
  decide.
- `vote_entropy` of a forest: how little its trees agree, 0 if all vote for one class, 1 if all classes get as many
  votes. It rises where inputs leave what the forest has learned from, long before a label says that it was wrong.
- `vote_share` of a forest: of trees that vote for the class that the forest predicts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["classifier_signals", "forest_signals", "prediction"]

Signals = dict[str, float]


def classifier_signals(classifier: Any, rows: npt.ArrayLike) -> list[Signals]:
    """The margin of each row, of a classifier that has `predict_proba` and at least two classes."""
    ordered = np.sort(classifier.predict_proba(rows), axis=1)
    return [{"margin": margin} for margin in (ordered[:, -1] - ordered[:, -2]).tolist()]


def forest_signals(forest: Any, rows: npt.ArrayLike) -> list[Signals]:
    """Margin and agreement of the trees of each row.

    Args:
        forest: a `RandomForestClassifier`, `ExtraTreesClassifier` or `BaggingClassifier` of trees, fitted.
        rows: as for its `predict`.
    """
    found = np.asarray(rows)
    # Trees answer with places in the forest's classes.
    votes = np.stack([np.argmax(tree.predict_proba(found), axis=1) for tree in forest.estimators_], axis=1)
    classes = len(forest.classes_)
    shares = np.stack([np.mean(votes == place, axis=1) for place in range(classes)], axis=1)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0.0)
    entropies = -np.sum(shares * logs, axis=1) / np.log(classes)
    probabilities = forest.predict_proba(found)
    of_predicted = shares[np.arange(len(found)), np.argmax(probabilities, axis=1)]
    ordered = np.sort(probabilities, axis=1)
    margins = ordered[:, -1] - ordered[:, -2]
    return [
        {"margin": margin, "vote_entropy": entropy, "vote_share": share}
        for margin, entropy, share in zip(margins.tolist(), entropies.tolist(), of_predicted.tolist(), strict=True)
    ]


def prediction(
    request_id: str, classifier: Any, row: Sequence[float], signals: Mapping[str, float], *, model: str, version: str
) -> dict[str, Any]:
    """What to publish on the topic `predictions`, as JSON."""
    probabilities = classifier.predict_proba([row])[0].tolist()
    best = int(np.argmax(probabilities))
    return {
        "request_id": request_id,
        "model": model,
        "model_version": version,
        "prediction": str(classifier.classes_[best]),
        "score": probabilities[best],
        "signals": dict(signals),
    }
