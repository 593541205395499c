"""Figures of ranked items, from the sums that `streams.pair_sums.lists` adds up.

The items are ranked from 1; relevant are those that labels named, ranked or not. Down to rank k, and meaned over the
labelled rankings:

    hit_rate_at_k     1 if a relevant item is among the first k, else 0
    precision_at_k    relevant items among the first k, over k, however short the list is
    recall_at_k       relevant items among the first k, over all relevant items
    ndcg_at_k         sum of 1 / log2(rank + 1) of the relevant items among the first k, over that of the best possible
                      ranking: scikit-learn's `ndcg_score` of binary relevance, items that were not ranked being
                      beyond k
    mrr               1 / rank of the first relevant item, anywhere in the list; 0 if there is none

A ranking whose label says that nothing was relevant has no recall and no ndcg, and is left out of both. The sums
hold every rank, so another k changes reports of old windows too.

Intervals: `hit_rate_at_k` Wilson's; for the others, which are means of shares, Wilson's at the effective sample size.
What missing labels leave possible is not bounded: a labelled ranking may get further relevant items.

    >>> sums = {"n": 4, "f1": 1, "f3": 1, "h1.1": 1, "h3.2": 1}
    >>> figures = ranking_figures(sums, at_k=2, confidence_level=0.95)
    >>> figures["hit_rate_at_k"].value, figures["precision_at_k"].value, figures["recall_at_k"].value
    (0.25, 0.125, 0.25)
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping
from fractions import Fraction

from streams.pair_sums.lists import GAIN_UNITS, GAINS
from streams.quality.figure import Figure, UndefinedReason
from streams.quality.intervals import wilson_interval
from streams.quality.mean_intervals import share_interval

__all__ = ["RANKING_METRICS", "ranking_figures"]

RANKING_METRICS = ("ndcg_at_k", "hit_rate_at_k", "mrr", "precision_at_k", "recall_at_k")

_SQUARED_GAIN_UNIT = float(GAIN_UNITS[1]) ** 2
_IDEAL = tuple(itertools.accumulate(GAINS))
"""By number of relevant items, the discounted gain of the best possible ranking."""


def ranking_figures(sums: Mapping[str, int], *, at_k: int, confidence_level: float) -> dict[str, Figure]:
    """Return every metric of `RANKING_METRICS`.

    Args:
        sums: fields of `ranking_contribution`, added up over the labelled rankings.
        at_k: how many items count; at most `schemas.limits.LIST_ENTRIES`.
        confidence_level: of the intervals, e.g. 0.95.
    """
    n = sums.get("n", 0)
    if not n:
        return dict.fromkeys(RANKING_METRICS, Figure.missing(UndefinedReason.NO_LABELLED))
    window = _Rankings.of(sums, at_k=at_k, confidence_level=confidence_level)
    return {
        "ndcg_at_k": window.ndcg(),
        "hit_rate_at_k": window.hit_rate(),
        "mrr": window.mrr(),
        "precision_at_k": window.precision(),
        "recall_at_k": window.recall(),
    }


@dataclasses.dataclass(frozen=True, slots=True)
class _Hits:
    """Relevant items at one rank of rankings with as many relevant items.

    `squares` is how much they add to the squared number of hits of their rankings, `gain_squares` to the squared
    discounted gain.
    """

    rank: int
    relevant: int
    count: int
    squares: int
    gain_squares: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Rankings:
    """The labelled rankings of a window: the hits among the first k, and first hits by rank."""

    n: int
    without_relevant: int
    at_k: int
    hits: tuple[_Hits, ...]
    first: Mapping[int, int]
    confidence_level: float

    @classmethod
    def of(cls, sums: Mapping[str, int], *, at_k: int, confidence_level: float) -> _Rankings:
        return cls(
            n=sums["n"],
            without_relevant=sums.get("e", 0),
            at_k=at_k,
            hits=tuple(hits for hits in _hits(sums) if hits.rank <= at_k),
            first={int(name[1:]): count for name, count in sums.items() if name[0] == "f"},
            confidence_level=confidence_level,
        )

    def hit_rate(self) -> Figure:
        share = sum(count for rank, count in self.first.items() if rank <= self.at_k) / self.n
        interval = wilson_interval(share, self.n, confidence_level=self.confidence_level)
        return Figure.of(share, interval, n=self.n)

    def mrr(self) -> Figure:
        total = sum((Fraction(count, rank) for rank, count in self.first.items()), Fraction(0))
        squares = math.fsum(count / rank**2 for rank, count in self.first.items())
        return self._mean(total, squares, n=self.n)

    def precision(self) -> Figure:
        total = Fraction(sum(hits.count for hits in self.hits), self.at_k)
        squares = sum(hits.squares for hits in self.hits) / self.at_k**2
        return self._mean(total, squares, n=self.n)

    def recall(self) -> Figure:
        total = sum((Fraction(hits.count, hits.relevant) for hits in self.hits), Fraction(0))
        squares = math.fsum(hits.squares / hits.relevant**2 for hits in self.hits)
        return self._mean(total, squares, n=self.n - self.without_relevant)

    def ndcg(self) -> Figure:
        best = [_IDEAL[min(hits.relevant, self.at_k)] for hits in self.hits]
        total = math.fsum(hits.count * GAINS[hits.rank] / ideal for hits, ideal in zip(self.hits, best, strict=True))
        squares = math.fsum(hits.gain_squares / ideal**2 for hits, ideal in zip(self.hits, best, strict=True))
        return self._mean(total, squares, n=self.n - self.without_relevant)

    def _mean(self, total: Fraction | float, squares: float, *, n: int) -> Figure:
        if not n:
            return Figure.missing(UndefinedReason.NO_POSITIVE_LABELS)
        mean = min(1.0, float(total / n))
        interval = share_interval(mean, squares / n, n=n, confidence_level=self.confidence_level)
        return Figure.of(mean, interval, n=n)


def _hits(sums: Mapping[str, int]) -> Iterator[_Hits]:
    for name, count in sums.items():
        if name[0] == "h":
            place = name[1:]
            rank, relevant = map(int, place.split("."))
            among = sums.get(f"y{place}", 0) / _SQUARED_GAIN_UNIT
            squares = count + sums.get(f"x{place}", 0)
            yield _Hits(rank, relevant, count, squares, count * GAINS[rank] ** 2 + among)
