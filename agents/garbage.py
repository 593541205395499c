"""How often processes that count, report or serve look for garbage."""

from __future__ import annotations

import gc

__all__ = ["look_for_garbage_rarely"]

THRESHOLD = 20_000
"""Objects: a batch makes up to 12,000 that live until it is packed. With five times as many, batches that are done
with, which Faust leaves in cycles, pile up to 100 MB."""


def look_for_garbage_rarely() -> None:
    """Leave alone what there is now, and search the rest for cycles less often.

    A batch, a round of reports and an answer of the API make thousands of objects that all live until it is done; by
    default every 700 are searched for cycles, again and again. That is a third of the time of packing.
    """
    gc.freeze()
    gc.set_threshold(THRESHOLD, 10, 10)
