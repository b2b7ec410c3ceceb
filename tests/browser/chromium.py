"""A page of the system's Chromium, without a window."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page, Response

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_ANSWER_MS = 60_000


def _missing(what: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"{what}; run .ci/chromium first")
    pytest.skip(f"{what}: apt-get install chromium, and make setup")


def installed() -> str:
    """Path of Chromium; where there is none, the test is skipped, and fails in CI."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        _missing("playwright is not installed")
    found = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    return found or _missing("Chromium is not installed")


def _described(answer: Response) -> str:
    return f"{answer.status} {answer.request.method} {answer.url}: {answer.request.post_data}"


@contextlib.contextmanager
def opened(program: str, folder: Path) -> Iterator[Page]:
    """A page; where the test fails, what it shows is left in the folder as `failed.png`.

    Playwright keeps a loop of asyncio running in this thread meanwhile: nothing else may run one.
    """
    from playwright.sync_api import Error, sync_playwright

    with sync_playwright() as playwright:
        # Pictures that move take half a processor, drawn without a graphics card.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1400, "height": 1600}, reduced_motion="reduce")
        refused: list[str] = []
        page.on("response", lambda answer: refused.append(_described(answer)) if answer.status >= 400 else None)
        page.set_default_timeout(_ANSWER_MS)
        page.set_default_navigation_timeout(_ANSWER_MS)
        try:
            yield page
        except BaseException:
            with contextlib.suppress(Error):
                page.screenshot(path=folder / "failed.png", full_page=True)
                print(f"---- the page {page.url} is in {folder / 'failed.png'}", *refused, sep="\n")
            raise
        finally:
            browser.close()
