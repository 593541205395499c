"""NannyML's synthetic car loan (Apache-2.0), analysis period: 50,000 scored loans, and what NannyML prints of them.

`car_loan_scores.csv` holds the labels by chunk of 5,000 and score in hundredths, which is all that the figures depend
on. The published table is that of NannyML's tutorials on standard metrics.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import pathlib
from collections.abc import Mapping

__all__ = ["CHUNK_LOANS", "LIMITS", "PUBLISHED", "THRESHOLD", "Published", "limit_rules", "loans_by_chunk"]

CHUNK_LOANS = 5_000
THRESHOLD = 65
"""Score in hundredths from which a loan is predicted to be repaid."""

_SCORES = pathlib.Path(__file__).parent / "car_loan_scores.csv"


@dataclasses.dataclass(frozen=True, slots=True)
class Published:
    """One chunk. Counts are true positives, true negatives, false positives, false negatives; figures as printed."""

    counts: tuple[int, int, int, int]
    figures: Mapping[str, float]


def _published(*row: float) -> Published:
    names = ("accuracy", "precision", "recall", "specificity", "f1", "roc_auc")
    true_positive, true_negative, false_positive, false_negative = map(int, row[:4])
    return Published(
        (true_positive, true_negative, false_positive, false_negative), dict(zip(names, row[4:], strict=True))
    )


PUBLISHED = (
    _published(2406, 2305, 109, 180, 0.9422, 0.956660, 0.930394, 0.954847, 0.943344, 0.970962),
    _published(2271, 2440, 102, 187, 0.9422, 0.957016, 0.923922, 0.959874, 0.940178, 0.970248),
    _published(2279, 2472, 99, 150, 0.9502, 0.958368, 0.938246, 0.961494, 0.948201, 0.976282),
    _published(2296, 2422, 96, 186, 0.9436, 0.959866, 0.925060, 0.961875, 0.942142, 0.967721),
    _published(2331, 2374, 113, 182, 0.9410, 0.953764, 0.927577, 0.954564, 0.940488, 0.969886),
    _published(2260, 2313, 190, 237, 0.9146, 0.922449, 0.905086, 0.924091, 0.913685, 0.960050),
    _published(2270, 2308, 167, 255, 0.9156, 0.931473, 0.899010, 0.932525, 0.914954, 0.958530),
    _published(2257, 2315, 182, 246, 0.9144, 0.925379, 0.901718, 0.927113, 0.913395, 0.959041),
    _published(2249, 2363, 155, 233, 0.9224, 0.935524, 0.906124, 0.938443, 0.920589, 0.963094),
    _published(2318, 2243, 198, 241, 0.9122, 0.921304, 0.905823, 0.918886, 0.913498, 0.957556),
)

LIMITS = {
    "roc_auc": (0.963317, 0.97866),
    "accuracy": (0.935859, 0.951421),
    "f1": (0.93466, 0.95085),
    "precision": (0.946681, 0.967054),
    "recall": (0.9171, 0.941033),
    "specificity": (0.948756, 0.967647),
}
"""What NannyML alerts beyond: three standard deviations of the reference chunks about their mean."""


def limit_rules(**when: object) -> str:
    """A rule file with NannyML's limits; `when` goes into the condition of each rule."""
    rules = [
        {"alert": f"{metric} {op} {limit}", "when": {"metric": metric, "op": op, "value": limit, **when}}
        for metric, limits in LIMITS.items()
        for op, limit in zip(("<", ">"), limits, strict=True)
    ]
    return json.dumps({"groups": [{"name": "car loan", "rules": rules}]})


def loans_by_chunk() -> list[list[tuple[int, int, int]]]:
    """For each chunk, (score in hundredths, loans not repaid, loans repaid), scores ascending."""
    chunks: list[list[tuple[int, int, int]]] = [[] for _ in PUBLISHED]
    with _SCORES.open(newline="") as rows:
        for row in csv.DictReader(rows):
            chunks[int(row["chunk"])].append((int(row["score"]), int(row["not_repaid"]), int(row["repaid"])))
    return chunks
