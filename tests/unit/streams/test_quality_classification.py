"""Classification figures against scikit-learn, and why each can be undefined."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from sklearn import metrics as oracle

from schemas.window_report import ClassFigures
from streams.monitored_model import DEFAULT_BETA
from streams.quality.classification import (
    BINARY_METRICS,
    MULTICLASS_METRICS,
    binary_figures,
    multiclass_figures,
    per_class_figures,
)
from streams.quality.confusion import Cell, ConfusionMatrix
from streams.quality.figure import Figure, UndefinedReason

Pairs = list[tuple[str, str]]
Oracle = Callable[[list[str], list[str]], float]

NAN = float("nan")


def mcc(labels: list[str], predictions: list[str]) -> float:
    """scikit-learn answers 0 where the denominator is 0."""
    constant = len(set(labels)) == 1 or len(set(predictions)) == 1
    return NAN if constant else float(oracle.matthews_corrcoef(labels, predictions))


def kappa(labels: list[str], predictions: list[str]) -> float:
    if len(set(labels) | set(predictions)) == 1:
        return NAN
    return float(oracle.cohen_kappa_score(labels, predictions))


AGREEMENT: dict[str, Oracle] = {
    "accuracy": oracle.accuracy_score,
    "balanced_accuracy": oracle.balanced_accuracy_score,
    "mcc": mcc,
    "cohen_kappa": kappa,
}


def averaged(score: Callable[..., float], average: str) -> Oracle:
    return lambda labels, predictions: score(labels, predictions, average=average, zero_division=np.nan)


MULTICLASS = AGREEMENT | {
    f"{metric}_{average}": averaged(score, average)
    for metric, score in (
        ("precision", oracle.precision_score),
        ("recall", oracle.recall_score),
        ("f1", oracle.f1_score),
    )
    for average in ("macro", "micro", "weighted")
}


def precision_weighted(labels: list[str], predictions: list[str]) -> float:
    """scikit-learn drops the weights where they add up to 0."""
    if not set(labels) & set(predictions):
        return NAN
    return averaged(oracle.precision_score, "weighted")(labels, predictions)


MULTICLASS["precision_weighted"] = precision_weighted


def of_positive(score: Callable[..., float], **options: float) -> Oracle:
    """`score` of class "a" against the rest."""

    def scored(labels: list[str], predictions: list[str]) -> float:
        truth, answers = ([int(name == "a") for name in names] for names in (labels, predictions))
        return score(truth, answers, zero_division=np.nan, **options)

    return scored


BINARY = AGREEMENT | {
    "precision": of_positive(oracle.precision_score),
    "recall": of_positive(oracle.recall_score),
    "specificity": of_positive(oracle.recall_score, pos_label=0),
    "f1": of_positive(oracle.f1_score),
    "fbeta": of_positive(oracle.fbeta_score, beta=DEFAULT_BETA),
}


def stream(*, seed: int, classes: str, length: int, agreement: float) -> Pairs:
    """Pairs whose classes have unequal shares, so that prefixes lack some of them."""
    generator = np.random.default_rng(seed)
    shares = np.array([0.5**rank for rank in range(len(classes))])[::-1]
    labels = generator.choice(list(classes), size=length, p=shares / shares.sum())
    noise = generator.choice(list(classes), size=length)
    agree = generator.random(length) < agreement
    return [(str(a), str(a if same else b)) for a, b, same in zip(labels, noise, agree, strict=True)]


def prefixes(pairs: Pairs) -> Iterator[Pairs]:
    yield from (pairs[:length] for length in range(1, len(pairs) + 1))


def cells_of(pairs: Pairs) -> Counter[Cell]:
    return Counter[Cell](pairs)


def matrix_of(pairs: Pairs) -> ConfusionMatrix:
    return ConfusionMatrix.from_cells(cells_of(pairs))


def binary_of(matrix: ConfusionMatrix, positive_class: str | None = "a") -> dict[str, Figure]:
    return binary_figures(matrix, positive_class=positive_class, confidence_level=0.95)


def multiclass_of(matrix: ConfusionMatrix) -> dict[str, Figure]:
    return multiclass_figures(matrix, confidence_level=0.95)


def expected_values(oracles: dict[str, Oracle], pairs: Pairs) -> dict[str, float]:
    labels, predictions = [label for label, _ in pairs], [prediction for _, prediction in pairs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of the classes that have no labels
        return {name: float(score(labels, predictions)) for name, score in oracles.items()}


def values_of(figures: dict[str, Figure]) -> dict[str, float]:
    return {name: NAN if figure.value is None else figure.value for name, figure in figures.items()}


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_weight_of_recall_in_fbeta_is_as_it_is_set(beta: float) -> None:
    score = of_positive(oracle.fbeta_score, beta=beta)
    for pairs in prefixes(stream(seed=5, classes="ab", length=30, agreement=0.7)):
        figure = binary_figures(matrix_of(pairs), positive_class="a", confidence_level=0.95, beta=beta)["fbeta"]
        expected = expected_values({"fbeta": score}, pairs)["fbeta"]
        assert pytest.approx(expected, nan_ok=True) == (NAN if figure.value is None else figure.value)
        if figure.value is not None:
            assert figure.low is not None
            assert figure.high is not None
            assert figure.low <= figure.value <= figure.high


@pytest.mark.parametrize(("seed", "classes", "agreement"), [(1, "ab", 0.6), (2, "ab", 0.95), (3, "abc", 0.3)])
def test_binary_figures_equal_scikit_learn_on_every_prefix(seed: int, classes: str, agreement: float) -> None:
    for pairs in prefixes(stream(seed=seed, classes=classes, length=40, agreement=agreement)):
        actual = values_of(binary_of(matrix_of(pairs)))

        assert pytest.approx(expected_values(BINARY, pairs), abs=1e-12, nan_ok=True) == actual


@pytest.mark.parametrize(("seed", "classes", "agreement"), [(1, "abcde", 0.5), (2, "abc", 0.95), (3, "abcdefgh", 0.05)])
def test_multiclass_figures_equal_scikit_learn_on_every_prefix(seed: int, classes: str, agreement: float) -> None:
    for pairs in prefixes(stream(seed=seed, classes=classes, length=40, agreement=agreement)):
        actual = values_of(multiclass_of(matrix_of(pairs)))

        assert pytest.approx(expected_values(MULTICLASS, pairs), abs=1e-12, nan_ok=True) == actual


def test_figures_per_class_equal_scikit_learn_on_every_prefix() -> None:
    for pairs in prefixes(stream(seed=4, classes="abcd", length=40, agreement=0.4)):
        labels, predictions = [label for label, _ in pairs], [prediction for _, prediction in pairs]
        rows = oracle.precision_recall_fscore_support(labels, predictions, zero_division=np.nan)

        actual = per_class_figures(matrix_of(pairs))

        assert sorted(set(labels) | set(predictions)) == list(actual)
        for (precision, recall, f1, support), figures in zip(zip(*rows, strict=True), actual.values(), strict=True):
            assert pytest.approx((precision, recall, f1, support), nan_ok=True) == tuple(
                NAN if value is None else value
                for value in (figures.precision, figures.recall, figures.f1, figures.support)
            )


def test_corrected_label_moves_its_pair() -> None:
    pairs = stream(seed=5, classes="abc", length=30, agreement=0.5)
    cells = cells_of(pairs)
    for at, (label, prediction) in enumerate(pairs[:10]):
        corrected = "c" if label == "a" else "a"
        cells[label, prediction] -= 1
        cells[corrected, prediction] += 1
        pairs[at] = (corrected, prediction)

        actual = values_of(multiclass_of(ConfusionMatrix.from_cells(cells)))

        assert pytest.approx(expected_values(MULTICLASS, pairs), abs=1e-12, nan_ok=True) == actual


@pytest.mark.parametrize("figures_of", [binary_of, multiclass_of])
def test_interval_holds_the_value_and_stays_in_range(
    figures_of: Callable[[ConfusionMatrix], dict[str, Figure]],
) -> None:
    for seed, agreement in [(6, 0.0), (7, 0.5), (8, 1.0)]:
        for pairs in prefixes(stream(seed=seed, classes="abc", length=40, agreement=agreement)):
            for name, figure in figures_of(matrix_of(pairs)).items():
                if figure.undefined:
                    assert (None, None, None) == (figure.value, figure.low, figure.high), name
                    continue
                assert figure.low is not None
                assert figure.high is not None
                assert figure.value is not None
                lowest = -1.0 if name in {"mcc", "cohen_kappa"} else 0.0
                assert lowest <= figure.low <= figure.value <= figure.high <= 1.0, name
                assert figure.low < figure.high, name


def test_every_name_of_the_contract_is_there_with_or_without_labels() -> None:
    for matrix in (ConfusionMatrix(), matrix_of([("a", "b"), ("a", "a")])):
        assert list(BINARY_METRICS) == list(binary_of(matrix))
        assert list(MULTICLASS_METRICS) == list(multiclass_of(matrix))


def reasons(figures: dict[str, Figure]) -> dict[str, UndefinedReason]:
    return {name: figure.undefined for name, figure in figures.items() if figure.undefined}


def test_nothing_is_defined_without_labels() -> None:
    unlabelled = ConfusionMatrix.from_cells({(None, "a"): 3})

    assert dict.fromkeys(BINARY_METRICS, UndefinedReason.NO_LABELLED) == reasons(binary_of(unlabelled))
    assert dict.fromkeys(MULTICLASS_METRICS, UndefinedReason.NO_LABELLED) == reasons(multiclass_of(unlabelled))


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        (
            [("a", "a")],
            {
                "specificity": UndefinedReason.NO_NEGATIVE_LABELS,
                "mcc": UndefinedReason.SINGLE_CLASS,
                "cohen_kappa": UndefinedReason.SINGLE_CLASS,
            },
        ),
        (
            [("b", "b")],
            {
                "precision": UndefinedReason.NO_POSITIVE_PREDICTIONS,
                "recall": UndefinedReason.NO_POSITIVE_LABELS,
                "f1": UndefinedReason.NO_POSITIVE_LABELS,
                "fbeta": UndefinedReason.NO_POSITIVE_LABELS,
                "mcc": UndefinedReason.SINGLE_CLASS,
                "cohen_kappa": UndefinedReason.SINGLE_CLASS,
            },
        ),
        (
            [("b", "a"), ("b", "b")],
            {"recall": UndefinedReason.NO_POSITIVE_LABELS, "mcc": UndefinedReason.SINGLE_CLASS},
        ),
        (
            [("a", "b"), ("b", "b")],
            {"precision": UndefinedReason.NO_POSITIVE_PREDICTIONS, "mcc": UndefinedReason.SINGLE_CLASS},
        ),
        ([("a", "b"), ("b", "a")], {}),
    ],
)
def test_zero_denominator_is_undefined_with_its_reason(pairs: Pairs, expected: dict[str, UndefinedReason]) -> None:
    assert expected == reasons(binary_of(matrix_of(pairs)))


def test_answers_that_are_all_wrong_score_zero_and_not_undefined() -> None:
    figures = binary_of(matrix_of([("a", "b"), ("b", "a")]))

    assert (0.0, 0.0, 0.0, 0.0) == tuple(figures[name].value for name in ("accuracy", "precision", "recall", "f1"))


def test_binary_model_without_positive_class_has_agreement_figures_only() -> None:
    figures = binary_of(matrix_of([("a", "a"), ("b", "a")]), positive_class=None)

    assert 0.5 == figures["accuracy"].value
    assert {"precision", "recall", "specificity", "f1", "fbeta"} == {
        name for name, figure in figures.items() if figure.undefined is UndefinedReason.NO_POSITIVE_CLASS
    }


def test_sample_size_is_the_denominator_of_a_proportion() -> None:
    matrix = ConfusionMatrix.from_cells({("a", "a"): 40, ("a", "b"): 9, ("b", "a"): 6, ("b", "b"): 585})

    assert {
        "accuracy": 640,
        "balanced_accuracy": 640,
        "mcc": 640,
        "cohen_kappa": 640,
        "precision": 46,
        "recall": 49,
        "specificity": 591,
        "f1": 55,
        "fbeta": 55,
    } == {name: figure.n for name, figure in binary_of(matrix).items()}


def test_average_names_the_classes_it_leaves_out() -> None:
    figures = multiclass_of(matrix_of([("a", "a"), ("b", "a"), ("a", "c")]))

    assert ("c",) == figures["recall_macro"].classes_left_out
    assert ("b",) == figures["precision_macro"].classes_left_out
    assert ("b",) == figures["precision_weighted"].classes_left_out
    assert () == figures["f1_macro"].classes_left_out
    assert 0.25 == figures["recall_macro"].value


def test_weighted_precision_is_undefined_when_no_label_was_ever_predicted() -> None:
    figures = multiclass_of(matrix_of([("a", "b")]))

    assert {
        "mcc": UndefinedReason.SINGLE_CLASS,
        "precision_weighted": UndefinedReason.NO_POSITIVE_PREDICTIONS,
    } == reasons(figures)


def test_possible_counts_every_missing_label_as_wrong_and_as_right() -> None:
    matrix = ConfusionMatrix.from_cells(
        {("a", "a"): 40, ("a", "b"): 9, ("b", "a"): 6, ("b", "b"): 585, (None, "a"): 20, (None, "b"): 340}
    )

    figures = binary_of(matrix)

    assert (0.625, 0.985) == figures["accuracy"].possible
    assert (40 / 66, 60 / 66) == figures["precision"].possible
    assert (40 / 389, 60 / 69) == figures["recall"].possible
    assert (
        pytest.approx((0.5 * 40 / 389 + 0.5 * 585 / 611, 0.5 * 60 / 69 + 0.5 * 925 / 931))
        == figures["balanced_accuracy"].possible
    )


def test_a_third_class_leaves_mcc_and_kappa_without_bounds() -> None:
    figures = binary_of(ConfusionMatrix.from_cells({("a", "a"): 4, ("b", "b"): 5, ("c", "b"): 1, (None, "b"): 2}))

    assert figures["mcc"].possible is figures["cohen_kappa"].possible is None
    assert pytest.approx((4 / 6 + 5 / 5 + 0) / (3 + 2)) == (figures["balanced_accuracy"].possible or (0, 0))[0]


def test_possible_is_known_before_the_first_label() -> None:
    figures = binary_of(ConfusionMatrix.from_cells({(None, "a"): 1, (None, "b"): 2}))

    assert (0.0, 1.0) == figures["precision"].possible
    assert (None, (0.0, 1.0)) == (figures["accuracy"].value, figures["accuracy"].possible)


OVERFLOWN: dict[Cell, int] = {
    ("a", "a"): 5,
    ("__other__", "__other__"): 3,
    ("__other__", "__other_wrong__"): 2,
    (None, "a"): 10,
}


def test_class_overflow_leaves_exactly_the_figures_that_need_no_class() -> None:
    matrix = ConfusionMatrix.from_cells(OVERFLOWN)

    binary, multiclass = binary_of(matrix), multiclass_of(matrix)

    assert {"accuracy"} == {name for name, figure in binary.items() if figure.undefined is None}
    assert {"accuracy", "precision_micro", "recall_micro", "f1_micro", "recall_weighted"} == {
        name for name, figure in multiclass.items() if figure.undefined is None
    }
    assert (0.8, (0.4, 0.9)) == (binary["accuracy"].value, binary["accuracy"].possible)
    assert {UndefinedReason.CLASS_OVERFLOW} == set(reasons(binary | multiclass).values())


def test_class_overflow_leaves_supports_per_class_only() -> None:
    figures = per_class_figures(ConfusionMatrix.from_cells(OVERFLOWN))

    assert ClassFigures(precision=None, recall=None, f1=None, support=5) == figures["a"]


def test_unlabelled_overflow_hides_only_what_is_possible_for_the_positive_class() -> None:
    figures = binary_of(ConfusionMatrix.from_cells({("a", "a"): 5, (None, "__other__"): 5}))

    assert (1.0, None) == (figures["precision"].value, figures["precision"].possible)
    assert (0.5, 1.0) == figures["accuracy"].possible


def test_large_counts_lose_no_digit() -> None:
    scale = 10**9
    small = matrix_of([("a", "a"), ("a", "a"), ("a", "b"), ("b", "b"), ("b", "a")])
    large = ConfusionMatrix.from_cells({cell: count * scale for cell, count in small.cells().items()})

    for name, figure in binary_of(small).items():
        assert figure.value is not None
        assert math.isclose(figure.value, binary_of(large)[name].value or 0.0, rel_tol=1e-12), name
