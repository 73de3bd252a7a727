"""A report as a reader sees it: its elements, texts and the data of its figures."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from mtl_runner.results.report.write import write_report

VOID = {"meta", "link", "input", "br", "img", "hr"}  # elements that have no end


class Page(HTMLParser):
    """The elements and texts of a page; fails where an element is not closed.

    Attributes:
        source: The HTML.
        elements: ``(tag, attributes)`` in order.
        texts: ``(tag around it, text)`` in order.
    """

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self._open[-1] if self._open else "", data))

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of all elements with a tag."""
        return [attributes for name, attributes in self.elements if name == tag]

    def table(self, mark: str) -> str:
        """Return the HTML of the first table after a mark."""
        return self.source.split(mark)[1].split("</table>")[0]

    @property
    def figures(self) -> list[dict[str, Any]]:
        """The data of the figures, one entry per data set."""
        (text,) = (data for tag, data in self.texts if tag == "script" and data.startswith("["))
        figures: list[dict[str, Any]] = json.loads(text)
        return figures

    @property
    def words(self) -> str:
        """The text that a reader sees, on one line."""
        texts = [data for tag, data in self.texts if tag not in ("script", "style")]
        return " ".join(" ".join(texts).split())


def report(*folders: Path) -> Page:
    """Write the report of some folders into the first one and return it."""
    return Page(write_report(folders, folders[0] / "report.html").read_text())
