"""Tables of read commands: columns stay in line, whatever strangers call their things."""

from __future__ import annotations

import pytest

from agents.commands.output import OutputFormat, print_records

RECORDS = [
    {"model": "模型", "segment": {"country": "DE\n\x1b[31m"}, "count": 12},
    {"model": "fraud", "segment": {}, "count": 3},
]


def test_wide_names_and_escapes_keep_the_columns_of_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_records(RECORDS, OutputFormat.TABLE, columns=("model", "segment", "count"))
    assert [
        "model  segment               count",
        r"模型   country=DE\n\x1b[31m     12",
        "fraud  everything                3",
    ] == capsys.readouterr().out.splitlines()
