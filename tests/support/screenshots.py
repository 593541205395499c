"""Compares a screenshot with a reviewed one by how dark and of which colour each small square of it is.

    screenshot ──> squares of 8 pixels ──> what is kept, a few kilobytes
                                     └──> smoothed over their neighbours, and compared with the reviewed one

Fonts, zone, clock and data are the same wherever it is taken, so that little has to be tolerated: how the edges of
letters are drawn. What has moved or gone, or has another colour, is more, if it is only a badge.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = ["TOLERANCE", "changed_share", "compare", "small"]

SQUARE_PIXELS = 8
CHANGED = 12
"""Of 255, in any colour, for a square smoothed over its neighbours."""
TILE_SQUARES = 16
"""Tiles overlap by half, so that what has changed lies in one of them, however long the page is."""
TOLERANCE = 0.02
"""Of the squares of a tile that may have changed: five, fewer than a badge has."""

Array = npt.NDArray[np.float64]


def small(png: bytes) -> Image.Image:
    """A screenshot as it is kept: a pixel for each square."""
    with Image.open(io.BytesIO(png)) as image:
        width, height = image.width // SQUARE_PIXELS, image.height // SQUARE_PIXELS
        whole = image.convert("RGB").crop((0, 0, width * SQUARE_PIXELS, height * SQUARE_PIXELS))
        return whole.resize((width, height), Image.Resampling.BOX)


def changed_share(shown: Image.Image, reviewed: Image.Image) -> float:
    """Of the squares of the tile that has changed most, how many have; all where only one of both has any."""
    width, height = max(shown.width, reviewed.width), max(shown.height, reviewed.height)
    least_width, least_height = min(shown.width, reviewed.width), min(shown.height, reviewed.height)
    both = [_smooth(np.asarray(image, np.float64)[:least_height, :least_width]) for image in (shown, reviewed)]
    changed = np.ones((height, width), bool)
    changed[:least_height, :least_width] = np.abs(both[0] - both[1]).max(axis=2) > CHANGED
    tops, lefts = (range(0, max(size - TILE_SQUARES // 2, 1), TILE_SQUARES // 2) for size in (height, width))
    tiles = (changed[top : top + TILE_SQUARES, left : left + TILE_SQUARES] for top in tops for left in lefts)
    return float(max(tile.sum() for tile in tiles)) / TILE_SQUARES**2


def compare(png: bytes, reviewed: Path, *, kept: Path) -> None:
    """Keep the screenshot in its small form, and compare it.

    Raises:
        AssertionError: it is not as it was reviewed.
    """
    shown = small(png)
    kept.parent.mkdir(parents=True, exist_ok=True)
    shown.save(kept, optimize=True)
    kept.with_name(f"{kept.stem}-whole.png").write_bytes(png)
    remedy = f"look at {kept.with_name(f'{kept.stem}-whole.png')}; if it is right, copy {kept} to {reviewed}"
    assert reviewed.exists(), f"nobody has reviewed it: {remedy}"
    with Image.open(reviewed) as image:
        share = changed_share(shown, image.convert("RGB"))
    assert share <= TOLERANCE, f"{share:.0%} of some part of it has changed, {TOLERANCE:.0%} may: {remedy}"


def _smooth(squares: Array) -> Array:
    """The mean of each square and its eight neighbours."""
    padded = np.pad(squares, ((1, 1), (1, 1), (0, 0)), mode="edge")
    height, width = squares.shape[:2]
    shifted = [padded[top : top + height, left : left + width] for top in range(3) for left in range(3)]
    mean: Array = np.mean(shifted, axis=0)
    return mean
