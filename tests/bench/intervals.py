"""How often each interval of a report holds the truth, by simulation.

    python -m tests.bench.intervals [--windows N]

prints the table that `deploy/guides/intervals.md` keeps. Windows of n labels are drawn from models whose figures are
known, and p says how hard it is:

- counts: a model of two classes, and one of three, that is right with probability p whatever the class;
- scores: labels that are positive with probability p, and calibrated scores that tell them apart fairly well. The truth
  is that of the scores themselves, which the figures see in bins;
- numbers: labels and errors of a normal shape, where p does not matter;
- sets: of five classes, each of which is right with probability p; half of the predictions err three times as often as
  the others;
- rankings: of twenty items, in which each of one to three relevant ones stands with probability p, early ranks being
  likelier; the first ten count.

`thin` rows have n * min(p, 1 - p) below 10: fewer than ten of one kind are to be expected.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, roc_auc_score

from streams.pair_sums.contribution import regression_contribution
from streams.pair_sums.lists import multilabel_contribution, ranking_contribution
from streams.pair_sums.many import score_sums
from streams.quality.classification import BINARY_METRICS, MULTICLASS_METRICS, binary_figures, multiclass_figures
from streams.quality.confusion import ConfusionMatrix
from streams.quality.figure import Figure
from streams.quality.multilabel import MULTILABEL_METRICS, multilabel_figures
from streams.quality.ranking import RANKING_METRICS, ranking_figures
from streams.quality.regression import REGRESSION_METRICS, regression_figures
from streams.quality.scores import SCORE_METRICS, binary_score_figures

__all__ = ["LEAST_EXPECTED", "PROBABILITIES", "SIZES", "Row", "coverage_rows", "table"]

SIZES = (30, 100, 1_000, 10_000)
PROBABILITIES = (0.5, 0.9, 0.99)
LEAST_EXPECTED = 10
"""Of one kind, below which no interval is promised to be right."""
CONFIDENCE_LEVEL = 0.95
PAIRS, SCORES = 2_000, 20_000
"""Of a population of numbers, sets or rankings, and of one of scores; its own figures are the truth."""
CLASSES, ITEMS = 5, 20
"""Of sets, and of rankings."""
SEED = 20_261_125

_Windows = Callable[[np.random.Generator, int, int], Iterator[Mapping[str, Figure]]]
"""(generator, labels of a window, number of windows) -> the figures of each."""


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """Shares of windows whose interval holds the truth; `p` is None where it does not matter."""

    of: str
    metric: str
    n: int
    p: float | None
    held: float

    @property
    def is_thin(self) -> bool:
        """Whether fewer than ten of one kind are to be expected."""
        return self.p is not None and self.n * min(self.p, 1 - self.p) < LEAST_EXPECTED - 1e-9


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class _Model:
    of: str
    metrics: Sequence[str]
    truth: Mapping[str, float]
    windows: _Windows


def coverage_rows(*, sizes: Sequence[int] = SIZES, windows: int) -> Iterator[Row]:
    """Simulate `windows` windows of each case."""
    for p in PROBABILITIES:
        for model in (_two_classes(p), _three_classes(p), _scores(p), _sets(p), _rankings(p)):
            for n in sizes:
                yield from _rows(model, n, p, windows)
    for n in sizes:
        yield from _rows(_numbers(), n, None, windows)


def _rows(model: _Model, n: int, p: float | None, windows: int) -> Iterator[Row]:
    held: Counter[str] = Counter()
    defined: Counter[str] = Counter()
    for figures in model.windows(np.random.default_rng(SEED), n, windows):
        for name in model.metrics:
            figure, truth = figures[name], model.truth[name]
            if figure.low is not None and figure.high is not None:
                defined[name] += 1
                held[name] += figure.low <= truth <= figure.high
    for name in model.metrics:
        if defined[name]:
            yield Row(model.of, name, n, p, held[name] / defined[name])


# Counts


def _two_classes(p: float) -> _Model:
    table = np.array([[p, 1 - p], [1 - p, p]]) / 2
    return _of_counts("two classes", BINARY_METRICS, table, _binary)


def _three_classes(p: float) -> _Model:
    table = (np.eye(3) * p + (1 - np.eye(3)) * (1 - p) / 2) / 3
    return _of_counts("three classes", MULTICLASS_METRICS, table, _multiclass)


def _binary(matrix: ConfusionMatrix) -> Mapping[str, Figure]:
    return binary_figures(matrix, positive_class="a", confidence_level=CONFIDENCE_LEVEL)


def _multiclass(matrix: ConfusionMatrix) -> Mapping[str, Figure]:
    return multiclass_figures(matrix, confidence_level=CONFIDENCE_LEVEL)


def _of_counts(
    of: str,
    metrics: Sequence[str],
    table: npt.NDArray[np.float64],
    figures_of: Callable[[ConfusionMatrix], Mapping[str, Figure]],
) -> _Model:
    def figures(counts: npt.NDArray[np.int64]) -> Mapping[str, Figure]:
        return figures_of(ConfusionMatrix.from_numpy("abc"[: len(table)], counts.reshape(table.shape)))

    def windows(generator: np.random.Generator, n: int, count: int) -> Iterator[Mapping[str, Figure]]:
        return map(figures, generator.multinomial(n, table.ravel(), size=count))

    return _Model(of, metrics, _values(figures((table * 10**12).round().astype(np.int64))), windows)


def _values(figures: Mapping[str, Figure]) -> Mapping[str, float]:
    return {name: figure.value for name, figure in figures.items() if figure.value is not None}


# Sums


def _scores(p: float) -> _Model:
    generator = np.random.default_rng(SEED)
    happened = np.arange(SCORES) < round(SCORES * p)
    separation = 1.5
    evidence = generator.normal(0, 1, SCORES) + separation * happened
    log_odds = separation * evidence - separation**2 / 2 + np.log(p / (1 - p))
    scores = 1 / (1 + np.exp(-log_odds))

    def figures(drawn: npt.NDArray[np.int64]) -> Mapping[str, Figure]:
        sums = score_sums(scores[drawn], happened[drawn], np.ones(len(drawn), dtype=np.int64))
        return binary_score_figures(sums, labelled=1, positive_class="a", confidence_level=CONFIDENCE_LEVEL)

    def windows(generator: np.random.Generator, n: int, count: int) -> Iterator[Mapping[str, Figure]]:
        return (figures(generator.integers(0, SCORES, n)) for _ in range(count))

    ranked = {
        "roc_auc": float(roc_auc_score(happened, scores)),
        "average_precision": float(average_precision_score(happened, scores)),
    }
    return _Model("scores", SCORE_METRICS, {**_values(figures(np.arange(SCORES))), **ranked}, windows)


def _numbers() -> _Model:
    generator = np.random.default_rng(SEED)
    labels = np.abs(generator.normal(50, 10, PAIRS)) + 1
    answers = np.abs(labels + generator.normal(1, 5, PAIRS))
    pairs = [
        regression_contribution(predicted=float(answer), label=float(label))
        for answer, label in zip(answers, labels, strict=True)
    ]

    def figures(sums: Mapping[str, int]) -> Mapping[str, Figure]:
        return regression_figures(sums, confidence_level=CONFIDENCE_LEVEL)

    return _of_sums("numbers", REGRESSION_METRICS, pairs, figures)


def _sets(p: float) -> _Model:
    generator = np.random.default_rng(SEED)
    true = generator.random((PAIRS, CLASSES)) < 0.4
    errors = (1 - p) * np.where(np.arange(PAIRS) % 2, 0.5, 1.5)
    predicted = true ^ (generator.random((PAIRS, CLASSES)) < errors[:, np.newaxis])
    pairs = [
        multilabel_contribution(
            found=_hashes(label & answer), invented=_hashes(answer & ~label), missed=_hashes(label & ~answer)
        )
        for label, answer in zip(true, predicted, strict=True)
    ]

    def figures(sums: Mapping[str, int]) -> Mapping[str, Figure]:
        return multilabel_figures(sums, class_names=(), unlabelled=0, confidence_level=CONFIDENCE_LEVEL)

    return _of_sums("sets", MULTILABEL_METRICS, pairs, figures)


def _hashes(classes: npt.NDArray[np.bool_]) -> list[bytes]:
    return [bytes([number]) * 8 for number in np.flatnonzero(classes).tolist()]


def _rankings(p: float) -> _Model:
    generator = np.random.default_rng(SEED)
    chances = 0.8 ** np.arange(ITEMS)
    pairs = []
    for _ in range(PAIRS):
        relevant = int(generator.integers(1, 4))
        ranked = int(generator.binomial(relevant, p))
        ranks = generator.choice(ITEMS, size=ranked, replace=False, p=chances / chances.sum()) + 1
        pairs.append(ranking_contribution(sorted(ranks.tolist()), relevant=relevant))

    def figures(sums: Mapping[str, int]) -> Mapping[str, Figure]:
        return ranking_figures(sums, at_k=10, confidence_level=CONFIDENCE_LEVEL)

    return _of_sums("rankings", RANKING_METRICS, pairs, figures)


def _of_sums(
    of: str,
    metrics: Sequence[str],
    pairs: Sequence[Mapping[str, int]],
    figures: Callable[[Mapping[str, int]], Mapping[str, Figure]],
) -> _Model:
    names = sorted({name for pair in pairs for name in pair})
    # Increments are below 2 ** 32, so that sums of a window stay within 63 bits.
    increments = np.array([[pair.get(name, 0) for name in names] for pair in pairs], dtype=np.int64)
    even = np.full(len(pairs), 1 / len(pairs))

    def sums_of(times: npt.NDArray[np.int64]) -> dict[str, int]:
        drawn = np.flatnonzero(times)
        return dict(zip(names, (times[drawn] @ increments[drawn]).tolist(), strict=True))

    def windows(generator: np.random.Generator, n: int, count: int) -> Iterator[Mapping[str, Figure]]:
        for _ in range(count):
            yield figures(sums_of(generator.multinomial(n, even)))

    return _Model(of, metrics, _values(figures(sums_of(np.ones(len(pairs), dtype=np.int64)))), windows)


# The table


def table(rows: Sequence[Row]) -> str:
    """As Markdown: a line for each figure and p, a column for each n, thin cells in brackets."""
    sizes = sorted({row.n for row in rows})
    cells = {(row.of, row.metric, row.p, row.n): row for row in rows}
    lines = ["| Of | Figure | p | " + " | ".join(f"n = {n:,}" for n in sizes) + " |"]
    lines.append("|---|---|---|" + "---|" * len(sizes))
    for of, metric, p in dict.fromkeys((row.of, row.metric, row.p) for row in rows):
        found = [cells.get((of, metric, p, n)) for n in sizes]
        shares = [
            "undefined" if row is None else f"({row.held:.1%})" if row.is_thin else f"{row.held:.1%}" for row in found
        ]
        lines.append(f"| {of} | `{metric}` | {'' if p is None else p} | " + " | ".join(shares) + " |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.intervals")
    parser.add_argument("--windows", type=int, default=2_000, help="simulated for each figure")
    arguments = parser.parse_args()
    print(table(list(coverage_rows(windows=arguments.windows))))


if __name__ == "__main__":
    main()
