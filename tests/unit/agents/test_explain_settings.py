"""How the sections `explain` and `explainer` are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.explain_settings import ExplainSettings
from agents.settings import ConfigurationError, Settings, config_hash, load_settings
from agents.settings_listing import resolved_yaml
from streams.explanation.features import Discretizer
from streams.explanation.terms import ExplainTerms


def loaded(folder: Path, explain: str) -> Settings:
    file = folder / "latelabel.yaml"
    file.write_text(f"models: [{{name: m, explain: {{{explain}}}}}]\n")
    return load_settings(file, {})


def terms(folder: Path, explain: str) -> ExplainTerms | None:
    return loaded(folder, explain).models[0].explanation


def test_model_is_not_explained_unless_a_predictor_is_named(tmp_path: Path) -> None:
    assert None is terms(tmp_path, "samples: 100")


def test_files_stand_beside_the_configuration_and_urls_and_functions_do_not(tmp_path: Path) -> None:
    predictors = {
        "model.onnx": str(tmp_path / "model.onnx"),
        "http://h:1/v2/models/m": "http://h:1/v2/models/m",
        "served:fraud": "served:fraud",
    }
    for written, expected in predictors.items():
        found = terms(tmp_path, f"predictor: '{written}', statistics: s.json, discretizer: decile")
        assert found is not None
        assert (expected, str(tmp_path / "s.json")) == (found.predictor, found.statistics)
        assert found.discretizer is Discretizer.DECILE


@pytest.mark.parametrize(
    ("explain", "said"),
    [
        ("predictor: m:f, input: text", "the one feature that holds the text"),
        ("predictor: m:f, input: image, features: [a, b]", "2 features"),
        ("predictor: m:f, input: text, features: [a], method: shap", "lime, which explains texts"),
        ("predictor: m:f, rate_per_minute: -1", "a number from 0"),
        ("predictor: m:f, missing: guess", "impute"),
    ],
)
def test_mistake_is_told(tmp_path: Path, explain: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        loaded(tmp_path, explain)


def test_what_is_shown_reads_as_the_same(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "predictor: model.skops, statistics: s.json, shown: [a], hashed: [b], missing: impute")
    again = tmp_path / "again.yaml"
    again.write_text(resolved_yaml(settings))
    assert settings.models == load_settings(again, {}).models


def test_settings_and_terms_have_the_same_fields_so_that_none_is_forgotten() -> None:
    given = ExplainSettings(predictor="m:f", samples=200)
    assert given == ExplainSettings.of(given.terms())


def test_how_predictions_are_explained_does_not_change_the_name_of_the_figures(tmp_path: Path) -> None:
    assert config_hash(loaded(tmp_path, "predictor: m:f")) == config_hash(loaded(tmp_path, ""))
