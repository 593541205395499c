"""What one explanation costs through a shared neighbourhood, beside stock `lime`, and whether both say the same.

Two data sets, three models each, instances and seeds: for each weight, the difference of the means of both over the
seeds in units of its standard error. Seeds are ours; nothing is drawn by chance.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import multiprocessing
import operator
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from lime.lime_tabular import LimeTabularExplainer
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from streams.explanation.features import learn
from streams.explanation.neighbourhood import draw
from streams.explanation.tabular import Pool
from tests.bench.figures import Figure
from tests.bench.workers import Services

__all__ = ["Agreement", "agreement", "explaining"]

Array = npt.NDArray[np.float64]
Predict = Callable[[Array], Array]

SAMPLES = 5000
INSTANCES = 20
SEEDS = 40
TOP = 10
EXPLANATIONS = 200
STOCK_EXPLANATIONS = 10


@dataclasses.dataclass(frozen=True, slots=True)
class Agreement:
    """Over all weights: root mean square and largest size of z-scores. Top-10 features in common: of ours with
    stock's, and of stock's with its own under another seed, both as mean shares."""

    rms: float
    largest: float
    overlap: float
    stock_overlap: float


def explaining(services: Services) -> Iterator[Figure]:
    """Cost in processor time of this process, then agreement; of one thread, as explanations are made."""
    with threadpool_limits(1):
        yield from _costs(services)
    yield from _agreement(services)


def _costs(services: Services) -> Iterator[Figure]:
    values, labels = load_breast_cancer(return_X_y=True)
    model = RandomForestClassifier(100, random_state=0).fit(values, labels)
    features = learn(_rows(values), names=_names(values))
    began = time.process_time()
    draws = draw(features, samples=SAMPLES, seed=1)
    drawn = time.process_time()
    outputs = model.predict_proba(np.column_stack(draws.columns))
    asked = time.process_time()
    pool = Pool.built(draws, outputs)
    yield Figure("neighbourhood, 30 features, 5,000 samples: CPU to draw", ((drawn - began) * 1e3,), "ms")
    yield Figure("neighbourhood: the model's own CPU, forest of 100 trees", ((asked - drawn) * 1e3,), "ms")
    rates = []
    for _ in range(services.repeats):
        began = time.process_time()
        answers = model.predict_proba(values[:EXPLANATIONS])
        for row, answer in zip(values[:EXPLANATIONS].tolist(), answers[:, 1].tolist(), strict=True):
            pool.explain(row, answer, output=1, most_features=TOP)
        rates.append(EXPLANATIONS / (time.process_time() - began))
    yield Figure("explanations once it is there, per second and core", tuple(rates), "/s", 500, operator.ge)
    stock = LimeTabularExplainer(values, random_state=1)
    began = time.process_time()
    for row in values[:STOCK_EXPLANATIONS]:
        stock.explain_instance(row, model.predict_proba, num_features=TOP, num_samples=SAMPLES)
    yield Figure("the same by stock lime", (STOCK_EXPLANATIONS / (time.process_time() - began),), "/s")


def _agreement(services: Services) -> Iterator[Figure]:
    found = agreement(instances=max(2, round(INSTANCES * services.scale)), seeds=max(10, round(SEEDS * services.scale)))
    yield Figure("weights against stock lime: root mean square of z-scores", (found.rms,), "", 1.2)
    yield Figure("weights against stock lime: the same, from below", (found.rms,), "", 0.8, operator.ge)
    yield Figure("weights against stock lime: largest z-score", (found.largest,), "", 4.5)
    yield Figure(
        "top-10 overlap with stock lime, less stock's own between seeds",
        (found.overlap - found.stock_overlap,),
        "",
        -0.01,
        operator.ge,
    )


def agreement(*, instances: int, seeds: int, samples: int = SAMPLES) -> Agreement:
    """Compare weights and choices of features."""
    compared = functools.partial(_compared, instances=instances, seeds=seeds, samples=samples)
    # Nothing here is timed, and stock lime takes its time.
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as processes:
        cases = list(processes.map(compared, *zip(*itertools.product(DATA, MODELS), strict=True)))
    all_scores = np.concatenate([case.scores for case in cases])
    return Agreement(
        rms=float(np.sqrt((all_scores**2).mean())),
        largest=float(np.abs(all_scores).max()),
        overlap=float(np.mean([share for case in cases for share in case.overlaps])),
        stock_overlap=float(np.mean([share for case in cases for share in case.own])),
    )


class _Case(NamedTuple):
    """Of one model: z-scores of its weights, and what top features have in common."""

    scores: Array
    overlaps: Sequence[float]
    own: Sequence[float]


def _compared(load: Callable[..., Any], make: Callable[[], Any], *, instances: int, seeds: int, samples: int) -> _Case:
    with threadpool_limits(1):
        values, labels = load(return_X_y=True)
        predict = make().fit(values, labels).predict_proba
        features = learn(_rows(values), names=_names(values))
        pools = []
        for seed in range(seeds):
            draws = draw(features, samples=samples, seed=10_000 + seed)
            pools.append(Pool.built(draws, predict(np.column_stack(draws.columns))))
        explainers = [LimeTabularExplainer(values, random_state=20_000 + seed) for seed in range(seeds)]
        scores: list[Array] = []
        overlaps: list[float] = []
        own: list[float] = []
        for row in values[:: len(values) // instances][:instances]:
            answer = float(predict(row[None])[0, 1])
            ours = [_of_pool(pool, row, answer) for pool in pools]
            stock = [_of_stock(explainer, row, predict, samples) for explainer in explainers]
            scores.append(_z_scores(np.array(ours), np.array(stock)))
            tops = [{*np.argsort(-np.abs(weights))[:TOP].tolist()} for weights in ours]
            stock_tops = [{*np.argsort(-np.abs(weights))[:TOP].tolist()} for weights in stock]
            overlaps += [len(a & b) / TOP for a, b in zip(tops, stock_tops, strict=True)]
            own += [len(a & b) / TOP for a, b in itertools.pairwise(stock_tops)]
        return _Case(np.concatenate(scores), overlaps, own)


def _linear() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression())


DATA = (load_breast_cancer, load_wine)
MODELS = (
    _linear,
    functools.partial(RandomForestClassifier, 50, random_state=0),
    functools.partial(GradientBoostingClassifier, random_state=0),
)


def _of_pool(pool: Pool, row: Array, answer: float) -> Array:
    fit = pool.explain(row.tolist(), answer, output=1, most_features=len(row))
    weights = np.zeros(len(row))
    weights[list(fit.chosen)] = fit.weights
    return weights


def _of_stock(explainer: Any, row: Array, predict: Predict, samples: int) -> Array:
    explained = explainer.explain_instance(row, predict, num_features=len(row), num_samples=samples)
    weights = np.zeros(len(row))
    for place, weight in explained.as_map()[1]:
        weights[place] = weight
    return weights


def _z_scores(ours: Array, stock: Array) -> Array:
    spread = np.sqrt((ours.var(axis=0, ddof=1) + stock.var(axis=0, ddof=1)) / len(ours))
    scores: Array = (ours.mean(axis=0) - stock.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return scores


def _names(values: Array) -> list[str]:
    return [f"f{place:02d}" for place in range(values.shape[1])]


def _rows(values: Array) -> list[dict[str, Any]]:
    return [dict(zip(_names(values), row, strict=True)) for row in values.tolist()]
