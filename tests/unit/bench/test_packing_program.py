from __future__ import annotations

import re

from tests.bench.instructions import RECORDED, setting
from tests.bench.packing_program import RECORDS, main


async def test_the_program_that_is_counted_packs_every_record() -> None:
    assert RECORDS > 900
    await main(1, is_sampled=False)


def test_counts_are_kept_by_what_they_depend_on() -> None:
    assert re.fullmatch(r"CPython 3\.\d+\.\d+ \w+, msgspec \S+, numpy \S+, orjson \S+", setting())
    assert RECORDED.exists()
