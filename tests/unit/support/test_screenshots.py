"""How screenshots are compared: what a person would notice is more than is tolerated, how letters are drawn is not."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from tests.support.screenshots import TOLERANCE, changed_share, compare, small

PAPER, INK, MARK = (255, 255, 255), (26, 29, 33), (180, 35, 24)


def drawn(*, table_at: int = 40, ink: tuple[int, int, int] = INK, height: int = 600, jitter: int = 0) -> bytes:
    """Something like a page: a heading, and a table with a letter-like pattern in every cell."""
    image = Image.new("RGB", (960, height), PAPER)
    draw = ImageDraw.Draw(image)
    draw.rectangle((20, 10, 320, 30), fill=ink)
    for row in range(18):
        for letter in range(100):
            if letter % 6:
                x, y = table_at + letter * 7 + (row + letter) % 2 * jitter, 60 + row * 28
                draw.line((x, y, x + 3, y + 11), fill=ink, width=2)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def test_letters_that_are_drawn_a_little_otherwise_are_tolerated() -> None:
    assert changed_share(small(drawn(jitter=1)), small(drawn())) <= TOLERANCE
    assert 0.0 == changed_share(small(drawn()), small(drawn()))


@pytest.mark.parametrize(
    "changed", [drawn(table_at=100), drawn(ink=MARK), drawn(height=680)], ids=["moved", "another colour", "longer"]
)
def test_what_has_moved_or_changed_its_colour_or_size_is_caught(changed: bytes, tmp_path: Path) -> None:
    reviewed = tmp_path / "reviewed.png"
    small(drawn()).save(reviewed)
    compare(drawn(), reviewed, kept=tmp_path / "shown" / "page.png")
    with pytest.raises(AssertionError, match="part of it has changed"):
        compare(changed, reviewed, kept=tmp_path / "shown" / "page.png")


def test_view_that_nobody_has_reviewed_is_told_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"nobody has reviewed it: look at .*page-whole\.png"):
        compare(drawn(), tmp_path / "none.png", kept=tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size < 20_000
