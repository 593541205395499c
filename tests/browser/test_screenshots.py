"""Every view as it was reviewed: with fixed data, clock, zone and fonts, in light and dark."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from streams.alerting.life_cycle import Phase
from tests.browser.conftest import PageServer
from tests.browser.test_page import FRAUD, WINDOW, tell
from tests.support.page_world import SHOWN_AT_MS, keep, world
from tests.support.screenshots import compare

DATA = Path(__file__).resolve().parents[1] / "data"
REVIEWED = DATA / "screenshots"
KEPT = Path(".cache") / "screenshots"
FONTS = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")
WIDTH = 1440
VIEWS = {
    "fleet": ("/", "table.fleet tbody tr"),
    "model": (FRAUD, ".multiples canvas"),
    "window": (WINDOW, "table.matrix"),
    "alerts": ("/?view=alerts", "main li h2"),
    "system": ("/?view=system", "text=None: every record could be read."),
}
Scheme = Literal["light", "dark"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser that draws the same on every machine."""
    path = shutil.which("chromium")
    if path is None or not FONTS.exists():
        raise FileNotFoundError(f"chromium or {FONTS} is missing; `make setup` installs both")
    arguments = ["--no-sandbox", "--font-render-hinting=none", "--disable-lcd-text", "--force-color-profile=srgb"]
    environment = {**os.environ, "FONTCONFIG_FILE": str(DATA / "fonts.conf")}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments, env={**environment})
        yield browser
        browser.close()


@pytest.fixture
def full(server: PageServer) -> PageServer:
    """The page over a world of reports, in which an alert fires."""
    server.run(keep(server.reports, world()))
    tell(server, Phase.FIRING, expected=0)
    return server


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> Scheme:
    found: Scheme = request.param
    return found


@pytest.fixture
def page(chromium: Browser, full: PageServer, scheme: Scheme) -> Iterator[Page]:
    """A page at a fixed moment, without anything that moves."""
    context = chromium.new_context(
        viewport={"width": WIDTH, "height": 900},
        base_url=full.address,
        timezone_id="America/New_York",
        locale="en-US",
        color_scheme=scheme,
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.clock.set_fixed_time(datetime.fromtimestamp(SHOWN_AT_MS / 1000, UTC))
    yield page
    context.close()


def shown(page: Page, view: str) -> bytes:
    """The whole of a view once it is there and live."""
    address, part = VIEWS[view]
    page.goto(address)
    page.locator(part).last.wait_for()
    page.locator("#connection[data-state=live]").wait_for()
    return page.screenshot(full_page=True, animations="disabled")


def test_every_view_is_as_it_was_reviewed(page: Page, scheme: Scheme) -> None:
    changed = []
    for view in VIEWS:
        name = f"{view}-{scheme}.png"
        try:
            compare(shown(page, view), REVIEWED / name, kept=KEPT / name)
        except AssertionError as difference:
            changed.append(f"{name}: {difference}")
    assert not changed, "\n".join(changed)


@pytest.mark.parametrize(
    ("view", "style"),
    [
        ("fleet", "td.state.firing { color: var(--ok) !important }"),
        ("model", ".charts figure:nth-child(3) canvas { visibility: hidden }"),
        ("model", ".multiples figure:last-child { display: none }"),
        ("window", "table.matrix td.hit { background: none !important }"),
    ],
    ids=["a badge of another colour", "an empty chart", "a missing chart", "a matrix without shades"],
)
def test_what_a_person_would_notice_is_noticed(
    page: Page, scheme: Scheme, view: str, style: str, tmp_path: Path
) -> None:
    reviewed = REVIEWED / f"{view}-{scheme}.png"
    png = shown(page, view)
    compare(png, reviewed, kept=tmp_path / "as-it-was.png")
    page.add_style_tag(content=style)
    with pytest.raises(AssertionError, match="some part of it has changed"):
        compare(page.screenshot(full_page=True, animations="disabled"), reviewed, kept=tmp_path / "changed.png")
