"""Pages of Prefect's two interfaces, as a person uses them, and pictures of them in light and dark."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from playwright.sync_api import Page

INTERFACES = {"classic": "", "new": "/v2"}
BUSY_S = 180.0
_WIDTH = 1200
_HEIGHT = 1000
_TALLEST = 8000
_PICTURES = "QJOBS_TEST_PICTURES"


@dataclass(frozen=True, kw_only=True)
class Interface:
    """One of the two interfaces, in a page.

    Args:
        name: `classic` or `new`.
        page: The browser's page.
        url: Address of Prefect's server.
        pictures: Folder of the pictures.
    """

    name: str
    page: Page
    url: str
    pictures: Path

    def open(self, path: str, words: str) -> None:
        """Open a page, which is there once these words are."""
        self.page.goto(f"{self.url}{INTERFACES[self.name]}{path}", wait_until="domcontentloaded")
        self.page.get_by_text(words, exact=True).first.wait_for()

    def open_form(self, deployment: str) -> None:
        """Open the form of a deployment."""
        self.open(f"/deployments/deployment/{deployment}/run", "Experiment")
        self.page.get_by_role("button", name="Submit").wait_for()

    def submit(self) -> str:
        """Press the button of a form; the id of the run."""
        return submit(self.page)

    def words(self) -> str:
        """All that the page says."""
        return str(self.page.locator("body").inner_text())

    def picture(self, name: str) -> None:
        """Pictures of the whole page in light and dark, as NAME-INTERFACE-light.png and -dark.png."""
        tall = self.page.evaluate("Math.max(...[...document.querySelectorAll('*')].map(each => each.scrollHeight))")
        self.page.set_viewport_size({"width": _WIDTH, "height": min(max(tall, _HEIGHT), _TALLEST)})
        for scheme, other in (("light", "dark"), ("dark", "light")):
            change = (
                "([to, from]) => {const root = document.documentElement.classList; root.remove(from); root.add(to)}"
            )
            self.page.evaluate(change, [scheme, other])
            path = self.pictures / f"{name.lower().replace(' ', '-')}-{self.name}-{scheme}.png"
            self.page.screenshot(path=path)
        self.page.set_viewport_size({"width": _WIDTH, "height": _HEIGHT})


def submit(page: Page) -> str:
    """Press the button of a form, and again as a person does while the server says that it is busy; the run's id."""
    deadline = time.monotonic() + BUSY_S
    while time.monotonic() < deadline:
        with page.expect_response(re.compile("/create_flow_run$")) as answer:
            page.get_by_role("button", name="Submit").click()
        if answer.value.status != httpx.codes.SERVICE_UNAVAILABLE:
            assert answer.value.ok, answer.value.text()
            return str(answer.value.json()["id"])
        page.wait_for_timeout(1_000)
    raise AssertionError(f"the server was busy for {BUSY_S:.0f} s")


def pictures_in(folder: Path) -> Path:
    """The folder that QJOBS_TEST_PICTURES names, where they are kept, else one in this folder; it is made."""
    chosen = Path(os.environ.get(_PICTURES) or folder / "pictures")
    chosen.mkdir(parents=True, exist_ok=True)
    return chosen
