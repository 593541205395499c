"""Files of tests in the order in which several processes begin them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support.order import by_length


@dataclasses.dataclass(frozen=True, slots=True)
class Collected:
    """What is asked of an item."""

    nodeid: str
    marks: tuple[pytest.Mark, ...] = ()

    @property
    def path(self) -> Path:
        return Path(self.nodeid.split("::")[0])

    def get_closest_marker(self, name: str) -> pytest.Mark | None:
        return next((mark for mark in self.marks if mark.name == name), None)


def test_long_files_begin_and_those_that_share_with_few_end() -> None:
    alone, calm, slow = (pytest.mark.alone.mark,), (pytest.mark.calm.mark,), (pytest.mark.timeout(600).mark,)
    items = [
        Collected("agents/show.py::agents.show"),
        Collected("tests/system/test_demo.py::test_one", alone + slow),
        Collected("tests/system/test_chaos.py::test_one", calm),
        Collected("tests/system/test_outages.py::test_one", calm + slow),
        Collected("tests/unit/agents/test_show.py::test_one"),
        Collected("tests/integration/test_worker.py::test_two"),
        Collected("tests/integration/test_worker.py::test_one"),
        Collected("tests/integration/test_page.py::test_one"),
        Collected("tests/integration/test_page.py::test_two", alone),
        Collected("tests/property/test_machine.py::test_one"),
        Collected("tests/property/test_machine.py::test_two", slow),
        Collected("tests/property/test_codec.py::test_one"),
    ]
    assert [
        "tests/property/test_machine.py::test_one",
        "tests/property/test_machine.py::test_two",
        "tests/integration/test_worker.py::test_two",
        "tests/integration/test_worker.py::test_one",
        "tests/property/test_codec.py::test_one",
        "agents/show.py::agents.show",
        "tests/unit/agents/test_show.py::test_one",
        "tests/system/test_demo.py::test_one",
        "tests/integration/test_page.py::test_one",
        "tests/integration/test_page.py::test_two",
        "tests/system/test_outages.py::test_one",
        "tests/system/test_chaos.py::test_one",
    ] == [item.nodeid for item in by_length(cast("Any", items), ordinary_seconds=180)]
