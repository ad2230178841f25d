"""A strict reader of what results show in a notebook."""

import base64
import html
from html.parser import HTMLParser

EMPTY = {"img", "br"}
ALLOWED = {
    *("div", "p", "strong", "pre", "details", "summary", "img"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {"class", "style", "tabindex", "open", "scope", "alt", "src"}


class Fragment(HTMLParser):
    """A piece of HTML; its tags must be known, closed in order, and ask for nothing.

    Attributes:
        text: Everything that can be read, once all parts are opened.
        pictures: Alternative text and content of each image.
        folds: Titles of the parts that fold, and whether they are open.
    """

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=False)
        self.text = ""
        self.pictures: list[tuple[str, bytes]] = []
        self.folds: list[tuple[str, bool]] = []
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    @property
    def words(self) -> list[str]:
        return self.text.split()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        assert tag in ALLOWED and set(values) <= ATTRIBUTES, (tag, values)
        assert "url(" not in (values.get("style") or "")
        if tag == "img":
            kind, _, data = (values["src"] or "").partition(";base64,")
            assert kind in ("data:image/svg+xml", "data:image/png")
            self.pictures.append((values["alt"] or "", base64.b64decode(data, validate=True)))
        if tag == "details":
            self.folds.append(("", "open" in values))
        if tag not in EMPTY:
            self._open.append(tag)
        self.text += " "

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        self.text += " "

    def handle_data(self, data: str) -> None:
        assert "<" not in data and ">" not in data, "text that is not escaped"
        self._read(data)

    def handle_entityref(self, name: str) -> None:
        self._read(html.unescape(f"&{name};"))

    def handle_charref(self, name: str) -> None:
        self._read(html.unescape(f"&#{name};"))

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def _read(self, data: str) -> None:
        self.text += data
        if self._open and self._open[-1] == "summary":
            title, is_open = self.folds[-1]
            self.folds[-1] = title + data, is_open
