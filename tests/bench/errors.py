"""What a benchmark says instead of a figure."""

from __future__ import annotations

__all__ = ["BenchError"]


class BenchError(RuntimeError):
    """There is no figure: something failed, or one cell was wrong."""
