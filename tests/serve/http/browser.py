"""A real browser over a running server, which notes whatever a page must not do."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parents[3]
WIDTHS = {"desktop": (1280, 800), "phone": (390, 780)}


@dataclass
class Watched:
    """A page that is being walked through, and what went wrong on the way."""

    page: Page
    wrong: list[str] = field(default_factory=list)

    def link(self, name: str) -> None:
        """Goes to a page by the navigation."""
        self.page.get_by_role("navigation", name="Pages").get_by_role("link", name=name).click()
        self.page.get_by_role("heading", level=1, name=name).wait_for()

    def button(self, name: str, **more: Any) -> Any:
        return self.page.get_by_role("button", name=name, **more)

    def picture(self, name: str) -> None:
        """Keeps what is seen now, for people: in build/screenshots, or where RAGAGENT_SCREENSHOTS says."""
        folder = Path(os.environ.get("RAGAGENT_SCREENSHOTS", ROOT / "build" / "screenshots"))
        self.page.wait_for_timeout(100)
        self.page.screenshot(path=folder / f"{name}.png")

    def violations(self) -> list[str]:
        """What axe-core finds that is serious or critical, as rule and place."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        return [f"{one['id']}: {one['nodes'][0]['target']} {one['nodes'][0]['failureSummary']}" for one in serious]


@contextlib.contextmanager
def launched() -> Iterator[Browser]:
    """Debian's Chromium without a window; skips where there is none."""
    api = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium here (Debian's package chromium)")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def watching(browser: Browser, address: str, *, width: str = "desktop", scheme: Any = "light") -> Iterator[Watched]:
    """The page at `address`, in a context of its own; at the end nothing may have gone wrong."""
    across, down = WIDTHS[width]
    context = browser.new_context(viewport={"width": across, "height": down}, color_scheme=scheme, locale="en-GB")
    page = context.new_page()
    watched = Watched(page)
    wrong, host = watched.wrong, urlsplit(address).netloc
    page.on(
        "console", lambda said: wrong.append(f"console: {said.text}") if said.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("request", lambda sent: wrong.append(f"request to {sent.url}") if _foreign(sent.url, host) else None)
    page.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.set_default_timeout(15_000)
    page.goto(address)
    yield watched
    assert wrong == []
    context.close()


def _foreign(url: str, host: str) -> bool:
    return not url.startswith(("blob:", "data:")) and urlsplit(url).netloc != host
