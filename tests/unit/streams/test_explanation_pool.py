"""Tabular LIME through a shared neighbourhood: equal to stock LIME, honest about its error, the same every time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from lime.lime_tabular import LimeTabularExplainer
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from schemas.explanation import ExplainFailure
from streams.explanation.features import Categories, Discretizer, Feature, Numbers, Value, learn
from streams.explanation.neighbourhood import Draws, draw, seed_of
from streams.explanation.refusal import Refused
from streams.explanation.tabular import Pool

Array = npt.NDArray[np.float64]


def table(values: Array, names: list[str]) -> list[dict[str, Value]]:
    return [dict(zip(names, row, strict=True)) for row in values.tolist()]


def features_of(values: Array, discretizer: Discretizer = Discretizer.QUARTILE) -> tuple[Feature, ...]:
    names = [f"f{index:02d}" for index in range(values.shape[1])]
    return learn(table(values, names), names=names, discretizer=discretizer)


def matrix(draws: Draws) -> Array:
    return np.column_stack([column.astype(np.float64) for column in draws.columns])


def weights_by_place(pool: Pool, row: list[Value], answer: float, features: int) -> tuple[Array, Array]:
    fit = pool.explain(row, answer, output=0, most_features=features)
    weights, errors = np.zeros(features), np.zeros(features)
    weights[list(fit.chosen)], errors[list(fit.chosen)] = fit.weights, fit.standard_errors
    return weights, errors


@pytest.mark.parametrize("discretizer", list(Discretizer))
def test_weights_have_the_distribution_of_stock_lime(discretizer: Discretizer) -> None:
    data = load_breast_cancer()
    values, labels = data.data[:, :12], data.target
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(values, labels)
    features = features_of(values, discretizer)
    row = values[17]
    answer = float(model.predict_proba(row[None])[0, 1])
    seeds = range(1000, 1024)
    ours, stock = [], []
    for seed in seeds:
        draws = draw(features, samples=1000, seed=seed)
        pool = Pool.built(draws, model.predict_proba(matrix(draws))[:, 1:])
        ours.append(weights_by_place(pool, row.tolist(), answer, 12)[0])
        explainer = LimeTabularExplainer(
            values,
            discretizer="quartile" if discretizer is Discretizer.NONE else discretizer.value,
            discretize_continuous=discretizer is not Discretizer.NONE,
            random_state=seed,
        )
        theirs = explainer.explain_instance(row, model.predict_proba, num_features=12, num_samples=1000)
        stock.append([dict(theirs.as_map()[1])[index] for index in range(12)])
    ours_all, stock_all = np.array(ours), np.array(stock)
    spread = np.sqrt((ours_all.var(axis=0, ddof=1) + stock_all.var(axis=0, ddof=1)) / len(seeds))
    scores = (ours_all.mean(axis=0) - stock_all.mean(axis=0)) / spread
    print(f"    {discretizer}: rms of z-scores {np.sqrt((scores**2).mean()):.2f}, largest {abs(scores).max():.2f}")
    assert np.sqrt((scores**2).mean()) < 1.6  # of 12 normal numbers; 1 in 1,000 sets has more
    assert abs(scores).max() < 4.5
    assert 0.7 < (ours_all.std(axis=0) / stock_all.std(axis=0)).mean() < 1.4


@pytest.mark.parametrize("discretizer", list(Discretizer))
def test_weights_are_those_of_a_weighted_ridge_over_all_neighbours(discretizer: Discretizer) -> None:
    generator = np.random.default_rng(11)
    rows: list[dict[str, Value]] = [
        {"x": float(x), "country": "de" if x > 0 else "fr", "y": float(y), "z": float(x * y)}
        for x, y in generator.normal(size=(200, 2))
    ]
    features = learn(rows, names=("x", "country", "y", "z"), discretizer=discretizer)
    draws = draw(features, samples=600, seed=1)
    outputs = generator.random((600, 2))
    row: list[Value] = [0.4, "fr", -1.3, 2.0]
    fit = Pool.built(draws, outputs).explain(row, 0.7, output=1, most_features=3)

    # As LIME's authors write it down: each neighbour by itself, the instance first.
    columns, own = [], []
    for at, feature in enumerate(features):
        is_number = isinstance(feature, Numbers) and discretizer is Discretizer.NONE
        if is_number and isinstance(feature, Numbers):
            columns.append((draws.columns[at].astype(np.float64) - feature.mean) / feature.deviation)
            own.append((float(row[at] or 0.0) - feature.mean) / feature.deviation)
        else:
            columns.append((draws.codes[:, at] == feature.code(row[at])).astype(np.float64))
            own.append(1.0)
    design = np.vstack([own, np.column_stack(columns)])
    answers = np.concatenate([[0.7], outputs[:, 1]])
    kernel = np.exp(-((design - own) ** 2).sum(axis=1) / (2 * 0.75**2 * len(features)))
    every = Ridge(alpha=0.01).fit(design, answers, sample_weight=kernel)
    chosen = np.argsort(-np.abs(every.coef_ * own), kind="stable")[:3]
    ridge = Ridge(alpha=1.0).fit(design[:, chosen], answers, sample_weight=kernel)

    assert set(chosen.tolist()) == set(fit.chosen)
    by_place = dict(zip(chosen.tolist(), ridge.coef_.tolist(), strict=True))
    assert [by_place[place] for place in fit.chosen] == pytest.approx(fit.weights.tolist(), rel=1e-9)
    assert float(ridge.intercept_) == pytest.approx(fit.intercept, rel=1e-9)
    assert ridge.score(design[:, chosen], answers, sample_weight=kernel) == pytest.approx(fit.r2, rel=1e-9)


def test_known_weights_of_a_linear_model_are_recovered_and_ignored_features_are_nothing() -> None:
    generator = np.random.default_rng(5)
    values = generator.normal(size=(400, 6)) * [1, 2, 1, 1, 5, 1]
    known = np.array([3.0, -1.0, 0.5, 0.0, 0.0, 0.0])
    features = features_of(values, Discretizer.NONE)
    draws = draw(features, samples=5000, seed=1)
    pool = Pool.built(draws, (matrix(draws) @ known)[:, None])
    fit = pool.explain(values[0].tolist(), float(values[0] @ known), output=0, most_features=6)
    per_deviation = known * [feature.deviation for feature in features if isinstance(feature, Numbers)]
    assert [0, 1, 2] == list(fit.chosen[:3])
    for place, weight, error in zip(fit.chosen, fit.weights, fit.standard_errors, strict=True):
        assert weight == pytest.approx(per_deviation[place], rel=0.01, abs=3 * error + 1e-9)
    assert fit.r2 == pytest.approx(1.0, abs=1e-4)
    assert fit.local_prediction == pytest.approx(float(values[0] @ known), rel=0.01)
    explainer = LimeTabularExplainer(values, mode="regression", discretize_continuous=False, random_state=1)
    stock = explainer.explain_instance(values[0], lambda rows: rows @ known, num_features=6, num_samples=5000)
    theirs = stock.as_map()[1]
    assert [0, 1, 2] == [place for place, _ in theirs[:3]]
    assert list(np.sign(fit.weights[:3])) == [np.sign(weight) for _, weight in theirs[:3]]


def test_standard_errors_hold_the_weights_of_an_endless_neighbourhood_as_often_as_they_say() -> None:
    generator = np.random.default_rng(7)
    values = generator.normal(size=(300, 5))
    features = features_of(values)

    def model(rows: Array) -> Array:
        return np.asarray(1 / (1 + np.exp(-(rows[:, 0] * 2 - rows[:, 1] + rows[:, 0] * rows[:, 2]))))

    row = values[3]
    answer = float(model(row[None])[0])

    def explained(seed: int, samples: int) -> tuple[Array, Array]:
        draws = draw(features, samples=samples, seed=seed)
        return weights_by_place(Pool.built(draws, model(matrix(draws))[:, None]), row.tolist(), answer, 5)

    truth = explained(0, 400_000)[0]
    repeats = [explained(seed, 2000) for seed in range(1, 1001)]
    held = np.array([abs(weights - truth) <= 1.96 * errors for weights, errors in repeats])
    print(f"    standard errors of five weights cover in {held.mean():.1%} of 1,000 repeats")
    assert (held.mean(axis=0) > 0.92).all()
    assert 0.93 < held.mean() < 0.97


def test_same_seed_gives_the_same_bytes_in_whatever_order_instances_come() -> None:
    values = np.random.default_rng(2).normal(size=(100, 4))
    features = features_of(values)
    pools = []
    for _ in range(2):
        draws = draw(features, samples=500, seed=seed_of(pool="1 m 1", features=features))
        pools.append(Pool.built(draws, matrix(draws)[:, :2] ** 2))
    assert pools[0].pool_id == pools[1].pool_id
    one_way = [pools[0].explain(values[at].tolist(), 0.5, output=1, most_features=2) for at in (0, 1, 2)]
    other_way = [pools[1].explain(values[at].tolist(), 0.5, output=1, most_features=2) for at in (2, 1, 0)]
    for one, other in zip(one_way, reversed(other_way), strict=True):
        assert one.weights.tobytes() == other.weights.tobytes()
        assert one.standard_errors.tobytes() == other.standard_errors.tobytes()
        assert (one.chosen, one.stability, one.r2) == (other.chosen, other.stability, other.r2)


def test_seed_depends_on_the_name_of_the_pool_and_on_what_is_known_of_its_features() -> None:
    values = np.random.default_rng(2).normal(size=(100, 4))
    features = features_of(values)
    seeds = {
        seed_of(pool="1 m 1", features=features),
        seed_of(pool="1 m 2", features=features),
        seed_of(pool="2 m 1", features=features),
        seed_of(pool="1 m 1", features=features_of(values[:50])),
    }
    assert 4 == len(seeds)


def test_category_and_missing_value_are_explained_as_what_they_are() -> None:
    rows: list[dict[str, Value]] = [
        {"country": "de" if index % 3 else "fr", "amount": None if index % 5 == 0 else float(index)}
        for index in range(100)
    ]
    features = learn(rows, names=("country", "amount"))
    assert isinstance(features[0], Categories)
    assert isinstance(features[1], Numbers)
    assert (0.2, ("de", "fr")) == (features[1].missing_share, features[0].values)
    draws = draw(features, samples=4000, seed=3, with_missing=True)
    amounts = draws.columns[1].astype(np.float64)
    assert 0.2 == pytest.approx(np.isnan(amounts).mean(), abs=0.03)
    outputs = np.where(np.isnan(amounts), 0.9, 0.1) + 0.05 * (draws.columns[0] == "fr")
    fit = Pool.built(draws, outputs[:, None]).explain(["fr", None], 0.95, output=0, most_features=2)
    assert (1, 0) == fit.chosen
    assert [0.8, 0.05] == pytest.approx(fit.weights.tolist(), abs=0.01)
    assert ["country = fr", "amount is missing"] == [features[0].rule("fr"), features[1].rule(None)]
    assert {"fr", "de"} == set(draws.columns[0].tolist())
    assert None in {amount for _, amount in draws.rows()}


def test_without_missing_values_wanted_no_neighbour_lacks_one() -> None:
    rows: list[dict[str, Value]] = [{"a": None if index % 2 else float(index)} for index in range(40)]
    draws = draw(learn(rows, names=("a",)), samples=100, seed=1)
    assert not np.isnan(draws.columns[0].astype(np.float64)).any()


def test_neighbours_that_lack_a_number_without_bins_count_as_usual_in_it() -> None:
    rows: list[dict[str, Value]] = [
        {"a": None if index % 5 == 0 else float(index), "b": float(index % 7)} for index in range(100)
    ]
    features = learn(rows, names=("a", "b"), discretizer=Discretizer.NONE)
    draws = draw(features, samples=2000, seed=3, with_missing=True)
    assert np.isnan(matrix(draws)).any()
    assert isinstance(features[0], Numbers)
    outputs = np.nan_to_num(matrix(draws)[:, :1], nan=features[0].usual)
    fit = Pool.built(draws, outputs).explain([60.0, 3.0], 60.0, output=0, most_features=2)
    assert [features[0].deviation, 0.0] == pytest.approx(fit.weights.tolist(), rel=0.01, abs=0.1)


@pytest.mark.parametrize("number", [60.0, 1e10, -1e200, 1e308])
def test_number_without_bins_that_is_far_from_all_that_is_known_is_refused(number: float) -> None:
    values = np.random.default_rng(2).normal(size=(100, 2))
    draws = draw(features_of(values, Discretizer.NONE), samples=1000, seed=1)
    pool = Pool.built(draws, matrix(draws)[:, :1])
    with pytest.raises(Refused, match=r"explain\.discretizer") as refused:
        pool.explain([number, 0.0], 1.0, output=0, most_features=2)
    assert ExplainFailure.WRONG_FEATURES == refused.value.reason


def test_category_that_was_never_seen_is_told() -> None:
    rows: list[dict[str, Value]] = [{"country": "de" if index % 2 else "fr", "n": float(index)} for index in range(40)]
    draws = draw(learn(rows, names=("country", "n")), samples=100, seed=1)
    pool = Pool.built(draws, np.arange(100.0)[:, None])
    assert ("country",) == pool.unseen(["at", 1.0])
    fit = pool.explain(["at", 1.0], 5.0, output=0, most_features=2)
    assert np.isfinite(fit.weights).all()


def test_rules_name_the_bin_that_a_number_is_in() -> None:
    (feature,) = learn([{"x": float(number)} for number in range(101)], names=("x",))
    assert ["x ≤ 25", "25 < x ≤ 50", "75 < x"] == [feature.rule(25.0), feature.rule(26), feature.rule(1e9)]
    (bare,) = learn([{"x": float(number)} for number in range(101)], names=("x",), discretizer=Discretizer.NONE)
    assert "x" == bare.rule(3.0)


@pytest.mark.parametrize("discretizer", list(Discretizer))
def test_constant_feature_has_no_weight_and_disturbs_no_other(discretizer: Discretizer) -> None:
    values = np.random.default_rng(4).normal(size=(100, 3))
    values[:, 1] = 7.0
    features = features_of(values, discretizer)
    draws = draw(features, samples=1000, seed=1)
    constant = draws.columns[1].astype(np.float64)
    if discretizer is not Discretizer.NONE:
        assert [7.0] == pytest.approx(np.unique(constant).tolist())
    weights, _ = weights_by_place(Pool.built(draws, matrix(draws)[:, :1]), values[0].tolist(), values[0, 0], 3)
    assert 0.0 == pytest.approx(weights[1], abs=0.05)
    assert 0.5 < abs(weights[0])


def test_model_that_answers_one_thing_has_weights_of_nothing_and_no_r2() -> None:
    values = np.random.default_rng(4).normal(size=(100, 3))
    pool = Pool.built(draw(features_of(values), samples=1000, seed=1), np.full((1000, 1), 0.25))
    fit = pool.explain(values[0].tolist(), 0.25, output=0, most_features=3)
    assert fit.r2 is None
    assert [0.0] * 3 == pytest.approx(fit.weights.tolist(), abs=1e-12)
    assert 0.25 == pytest.approx(fit.intercept)


def test_a_thousand_features_are_explained() -> None:
    values = np.random.default_rng(4).normal(size=(60, 1000))
    draws = draw(features_of(values), samples=2000, seed=1)
    pool = Pool.built(draws, matrix(draws)[:, 17:18])
    fit = pool.explain(values[0].tolist(), values[0, 17], output=0, most_features=5)
    assert 17 == fit.chosen[0]
    assert 5 == len(fit.weights)


def test_stability_is_lower_where_the_answers_are_noise() -> None:
    values = np.random.default_rng(4).normal(size=(100, 20))
    features = features_of(values)
    draws = draw(features, samples=1000, seed=1)
    clear = Pool.built(draws, matrix(draws)[:, :3] @ np.array([[3.0], [2.0], [1.0]]))
    noise = Pool.built(draws, np.random.default_rng(6).random((1000, 1)))
    stabilities = [
        pool.explain(values[0].tolist(), 0.0, output=0, most_features=3).stability for pool in (clear, noise)
    ]
    assert 1.0 == stabilities[0]
    assert stabilities[1] < 0.8


def test_features_are_refused_when_too_little_is_known_of_them() -> None:
    with pytest.raises(Refused, match="19 predictions") as refused:
        learn([{"a": 1.0}] * 19, names=("a",))
    assert ExplainFailure.NO_BACKGROUND == refused.value.reason
    with pytest.raises(Refused, match="'b' has no value"):
        learn([{"a": 1.0}] * 20, names=("a", "b"))


def test_text_where_a_number_was_is_refused_with_the_remedy() -> None:
    (feature,) = learn([{"x": float(number)} for number in range(30)], names=("x",))
    with pytest.raises(Refused, match=r"list it in explain\.categorical"):
        feature.code("many")
