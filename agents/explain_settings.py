"""The `explain` section of a model and the `explainer` section: how predictions are explained."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agents.settings_fields import Conflict, reads, setting
from agents.settings_file import Found
from agents.settings_readers import (
    choice,
    duration,
    each,
    file_name,
    flag,
    number,
    optional,
    text,
    whole_number,
)
from streams.explanation.features import Discretizer
from streams.explanation.terms import ExplainTerms, InputKind, Method, MissingValues
from streams.monitored_model import HOUR_MS

__all__ = ["MODEL_FILES", "ExplainSettings", "ExplainerSettings"]

SECOND_MS = 1000
MODEL_FILES = (".onnx", ".skops", ".pkl", ".pickle", ".joblib")
_feature = text("the name of a feature; put it in quotes if it is a number")
_features = each(_feature, "a list of features such as [amount, country]")


@reads({"type": "string", "minLength": 1})
def _predictor(found: Found) -> str:
    """A relative file starts at the configuration file's folder, as other files do."""
    value = found.text
    if not value:
        found.fail("a URL, module:function, or a file such as model.onnx")
    return str(found.folder / value) if value.endswith(MODEL_FILES) and "://" not in value else value


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExplainSettings:
    """How predictions of one model are explained."""

    predictor: str | None = setting(
        None,
        optional(_predictor),
        "How the model is asked: `http://HOST/v2/models/NAME` (Open Inference Protocol), `http://HOST/invocations`"
        " (MLflow), `module:function`, or a file `.onnx`, `.skops`, `.pkl`. `{version}` stands for the prediction's"
        " `model_version`. None: the model is not explained.",
    )
    input: str = setting(
        "tabular", choice(*InputKind), "What the model takes: `tabular`, `text` or `image`. A text or an image is the"
        " one feature that `features` names.",
    )  # fmt: skip
    method: str = setting("lime", choice(*Method), "`lime`, or `shap` for trees and linear models in a file.")
    features: tuple[str, ...] = setting(
        (), _features, "The model's features in their order. Empty: all that predictions carry, sorted by name."
    )
    categorical: tuple[str, ...] = setting(
        (), _features, "Features whose numbers are names. Those that are text, true or false are categorical anyway."
    )
    classes: tuple[str, ...] = setting(
        (),
        each(text("a class; put it in quotes if it is a number"), "a list of classes such as [fraud, ok]"),
        "The order of the model's outputs. Empty: as the model says, else `classes.names`.",
    )
    output: str | None = setting(
        None, optional(text("the name of an output")), "Which of several outputs holds the probabilities. None: the"
        " one that is called like it.",
    )  # fmt: skip
    discretizer: str = setting(
        "quartile", choice(*Discretizer), "Whether a number is explained by its `quartile` or `decile`, or as it is:"
        " `none`.",
    )  # fmt: skip
    samples: int = setting(
        5000, whole_number(100, 100_000), "Neighbours that are drawn; the model is asked about them once per version."
    )
    most_features: int = setting(10, whole_number(1, 1000), "How many features an explanation names.")
    missing: str = setting(
        "refuse", choice(*MissingValues), "When a feature has no value: `refuse` to explain, `impute` the mean or the"
        " most frequent category, or `keep` it missing, for a model that takes that.",
    )  # fmt: skip
    statistics: Path | None = setting(
        None, optional(file_name), "A JSON file of what is known about the features. None: learnt from the predictions"
        " before the first one that is explained.",
    )  # fmt: skip
    rate_per_minute: float = setting(
        30.0, number(0, 60_000), "How many explanations a minute workers ask for by themselves: half of them about"
        " wrong predictions, a quarter where the model was hardly sure, a quarter for comparison. 0: none.",
    )  # fmt: skip
    shown: tuple[str, ...] | None = setting(
        None, optional(_features), "Features whose values explanations may tell. None: all."
    )
    hashed: tuple[str, ...] = setting((), _features, "Features of which explanations tell a hash instead of the value.")
    trusted: tuple[str, ...] = setting(
        (), each(text("the name of a type"), "a list of types such as [sklearn.tree._tree.Tree]"), "Types that a"
        " `.skops` file may hold beyond those that skops trusts.",
    )  # fmt: skip
    allow_pickle: bool = setting(False, flag, "Whether a pickle may be opened. It runs whatever its maker wanted.")

    def conflicts(self) -> Iterator[Conflict]:
        """What cannot hold together, although each value could."""
        if self.input != InputKind.TABULAR and len(self.features) != 1:
            yield Conflict(
                ("features", "input"), f"the one feature that holds the {self.input}", f"{len(self.features)} features"
            )
        if self.method == Method.SHAP and self.input != InputKind.TABULAR:
            yield Conflict(("method", "input"), "lime, which explains texts and images", "shap")

    def terms(self) -> ExplainTerms | None:
        """What the core knows of it; None if the model is not explained."""
        if self.predictor is None:
            return None
        chosen = {
            "predictor": self.predictor,
            "input": InputKind(self.input),
            "method": Method(self.method),
            "discretizer": Discretizer(self.discretizer),
            "missing": MissingValues(self.missing),
            "statistics": None if self.statistics is None else str(self.statistics),
        }
        return ExplainTerms(**(_values(self) | chosen))

    @classmethod
    def of(cls, terms: ExplainTerms | None) -> ExplainSettings:
        """The settings that give these terms."""
        if terms is None:
            return cls()
        return cls(**(_values(terms) | {"statistics": None if terms.statistics is None else Path(terms.statistics)}))


def _values(of: ExplainSettings | ExplainTerms) -> dict[str, Any]:
    """Both have the same fields."""
    return {field.name: getattr(of, field.name) for field in dataclasses.fields(of)}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExplainerSettings:
    """`latelabel explainer`, and `latelabel explain`: what the processes in which models run may do."""

    port: int = setting(
        0, whole_number(0, 65535), "Port for health and metrics, on `web.host`; 0: any that is free, and the log says"
        " which.",
    )  # fmt: skip
    processes: int = setting(1, whole_number(1, 256), "Child processes, each a core.")
    reserved_cores: float = setting(
        0.1, number(0.01, 256), "Processor cores that models may use even when other programs need all of them. They"
        " use half of what those leave anyway.",
    )  # fmt: skip
    timeout_ms: int = setting(
        10 * SECOND_MS, duration(100, HOUR_MS), "How long one explanation may take, or up to 32 of a model version"
        " that wait and are explained together; three times as long what comes before the first: loading the model and"
        " drawing neighbours. Past it the process is killed, and those that were together are explained one by one;"
        " after three times an explanation says so.",
    )  # fmt: skip
    memory_mib: int = setting(2048, whole_number(256, 1 << 20), "Address space of one process.")
    open_files: int = setting(64, whole_number(16, 65_536), "File descriptors of one process.")
    allowed_hosts: tuple[str, ...] = setting(
        (), each(text("a host or host:port"), "a list of hosts such as [models.internal:8080]"), "Hosts that"
        " `explain.predictor` may name. Empty: any but those of this machine, link-local and metadata services.",
    )  # fmt: skip
    answer_mib: int = setting(64, whole_number(1, 1024), "Largest answer of a model server.")
    background: int = setting(
        2000, whole_number(20, 100_000), "Predictions of a model version that are read to learn what is usual."
    )
    pool_lifetime_ms: int = setting(
        HOUR_MS, duration(SECOND_MS), "How long neighbours are used before others are drawn: explanations that share"
        " them share their sampling error.",
    )  # fmt: skip
