"""The examples in the docstrings of `schemas` are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import schemas

MODULES = [module.name for module in pkgutil.iter_modules(schemas.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run_as_written(name: str) -> None:
    module = importlib.import_module(f"schemas.{name}")
    assert 0 == doctest.testmod(module).failed
