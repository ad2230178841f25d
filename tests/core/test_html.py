"""Texts, tables, parts that fold and pictures, as a notebook shows them."""

import pytest

from mutransfer.core import Fold, as_html, html_table, preformatted
from mutransfer.core._html import LONGEST_TEXT, picture
from tests.fragments import Fragment

HOSTILE = "<script>alert('a' & \"b\")</script> &amp;"


def test_a_text_is_a_title_a_summary_and_a_table() -> None:
    shown = as_html("title\nsummary\n\na  table", [])
    fragment = Fragment(shown)
    assert fragment.words == ["title", "summary", "a", "table"]
    assert "<strong>title</strong>" in shown and ">a  table</pre>" in shown
    assert Fragment(as_html("", [])).words == []


def test_parts_fold_below_their_titles() -> None:
    folds = [Fold("one", preformatted("a")), Fold("two", preformatted("b"), is_open=True)]
    fragment = Fragment(as_html("title", [*folds, Fold("a sentence", "")]))
    assert fragment.folds == [("one", False), ("two", True)]
    assert fragment.words == ["title", "one", "a", "two", "b", "a", "sentence"]


def test_everything_is_text() -> None:
    pieces = [
        as_html(f"{HOSTILE}\n{HOSTILE}\n\n{HOSTILE}", [Fold(HOSTILE, preformatted(HOSTILE))]),
        html_table([HOSTILE], [[HOSTILE]]),
    ]
    for piece in pieces:
        text = Fragment(piece).text
        assert text.count(HOSTILE) == piece.count("&lt;script&gt;") > 0
    assert Fragment(picture(b"x", HOSTILE)).pictures == [(HOSTILE, b"x")]


def test_long_texts_and_tables_are_cut_and_say_so() -> None:
    shown = Fragment(preformatted("x" * (LONGEST_TEXT + 7))).text
    assert "... 7 more characters: print it" in shown and len(shown) < LONGEST_TEXT + 100
    table = Fragment(html_table(["n"], [[str(n)] for n in range(12)], longest=10))
    assert table.words == ["n", *map(str, range(10)), "and", "2", "more", "rows"]


@pytest.mark.parametrize("image", ["<svg/>", b"\x89PNG"])
def test_a_picture_travels_with_the_page(image: str | bytes) -> None:
    ((alternative, data),) = Fragment(picture(image, "loss against rate")).pictures
    assert alternative == "loss against rate"
    assert data == (image.encode() if isinstance(image, str) else image)
