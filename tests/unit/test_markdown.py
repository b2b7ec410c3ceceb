"""Words of users and providers in markdown: shown as they are, whatever is in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from qjobs.reports.markdown import code, link, plain, table

HOSTILE = (
    '<script>alert("x")</script>',
    "<img src=x onerror=alert(1)>",
    "[here](javascript:alert(1))",
    "![seen](http://host/pixel.png)",
    "a | b | c",
    "`code` **bold** __bold__ ~~gone~~",
    "# head\n\n- item\n\n| a | b |\n|---|---|",
    "&lt;b&gt; &amp; \\< \\\\| ",
    "https://host/x www.host.com a@host.com <https://host>",
    "left \u202e right \x00\x1b[31m",
)
PAGE = MarkdownIt("gfm-like", {"linkify": False, "html": True}).enable("table")


def shown(text: str) -> tuple[str, set[str]]:
    """What a page shows of a markdown text, and the kinds of elements in it."""
    words, kinds = [], set()
    for block in PAGE.parse(text):
        kinds.add(block.type)
        for each in block.children or []:
            kinds.add(each.type)
            words.append(each.content)
    return "".join(words), kinds


@pytest.mark.parametrize("text", HOSTILE)
def test_plain(text: str) -> None:
    """Text is text: no element but the paragraph, and its letters are all there."""
    words, kinds = shown(f"x {plain(text)}")
    assert kinds <= {"paragraph_open", "inline", "text", "text_special", "paragraph_close"}
    assert words == "x " + " ".join(text.split()).replace("\u202e", "").replace("\x00", "").replace("\x1b", "")


@given(st.text())
def test_any_text(text: str) -> None:
    """The same of every text, in a cell: it ends neither the cell nor the row."""
    _, kinds = shown("\n".join(table(["a", "b"], [[f"x{plain(text)}", code(f"x{text}")]])))
    assert not kinds & {"html_inline", "html_block", "link_open", "image", "em_open", "strong_open", "s_open"}
    (row,) = table(["a"], [[plain(text)]])[2:]
    assert "\n" not in row


@pytest.mark.parametrize("address", ["javascript:alert(1)", "data:text/html,x", "x", "JAVASCRIPT:x", " javascript:x"])
def test_no_link(address: str) -> None:
    """Only addresses of pages and files are linked."""
    assert link("here", address) == "here"


def test_link() -> None:
    """Words and address of a link cannot end it."""
    (block,) = [each for each in PAGE.parse(link("[here](x) <b>", "https://host/a b)<c>")) if each.children]
    assert [each.type for each in block.children if each.type.startswith("link")] == ["link_open", "link_close"]
    assert block.children[0].attrs == {"href": "https://host/a%20b%29%3Cc%3E"}
