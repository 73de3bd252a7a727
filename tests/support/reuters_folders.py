"""Tiny Reuters folders of both layouts, written as the real ones are."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl_runner.data import Reuters

ROWS = 120
PRICES = ("grain", "oil", "gold")
HOMES = ("usa", "uk", "japan")
WORDS = {
    "grain": "wheat and maize harvest in tonnes",
    "oil": "barrels of crude pumped each day",
    "gold": "ounces of bullion from the mine",
    "usa": "said the U.S. office",
    "uk": "said London",
    "japan": "said Tokyo",
}


def texts(count: int) -> list[dict[str, Any]]:
    """Return texts whose topics and places follow from their words.

    Every third is about two topics, every fifth names no place.
    """
    rows = []
    for i in range(count):
        topics = [PRICES[i % 3]] + ([PRICES[(i + 1) % 3]] if i % 3 == 2 else [])
        places = [] if i % 5 == 4 else [HOMES[(i // 3) % 3]]
        words = " ".join(WORDS[name] for name in (*topics, *places))
        rows.append(
            {
                "title": f"NEWS {i}",
                "body": f"{words} on {i}.{i % 7} days.",
                "topics": topics,
                "places": places,
            }
        )
    return rows


def write_json(
    folder: Path,
    topics: Sequence[str] | None = None,
    *,
    zipped: bool = True,
    **files: list[dict[str, Any]],
) -> Path:
    """Write ``train`` (and ``test``) as JSON lines, and ``topics90.json`` if topics are given."""
    folder.mkdir(exist_ok=True)
    for name, rows in files.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
        (folder / f"{name}.jsonl{'.gz' if zipped else ''}").write_bytes(
            gzip.compress(lines) if zipped else lines
        )
    if topics is not None:
        (folder / "topics90.json").write_text(json.dumps({"topics90": list(topics)}))
    return folder


def sgml(
    text: str,
    split: str = "TRAIN",
    topics: Sequence[str] = (),
    places: Sequence[str] = (),
    marked: str = "YES",
) -> str:
    """Return a document around its TEXT element, with all that the real ones carry."""

    def items(names: Sequence[str]) -> str:
        return "".join(f"<D>{name}</D>" for name in names)

    return (
        f'<REUTERS TOPICS="{marked}" LEWISSPLIT="{split}" CGISPLIT="TRAINING-SET" OLDID="1" NEWID="2">\n'
        f"<DATE>26-FEB-1987 15:01:01.79</DATE>\n<TOPICS>{items(topics)}</TOPICS>\n<PLACES>{items(places)}</PLACES>\n"
        "<PEOPLE><D>nobody</D></PEOPLE>\n<ORGS></ORGS>\n<EXCHANGES></EXCHANGES>\n<COMPANIES></COMPANIES>\n"
        f"<UNKNOWN> \n&#5;&#5;&#5;C T\n&#22;&#22;&#1;f0704&#31;reute</UNKNOWN>\n{text}\n</REUTERS>\n"
    )


def normal(title: str, body: str) -> str:
    """Return a TEXT element as most documents have it."""
    return (
        f"<TEXT>&#2;\n<TITLE>{title}</TITLE>\n<DATELINE>    SALVADOR, Feb 26 - </DATELINE>"
        f"<BODY>{body}\n Reuter\n&#3;</BODY></TEXT>"
    )


def write_sgml(folder: Path, **files: Sequence[str] | bytes) -> Path:
    """Write ``a=[documents]`` as ``reut2-a.sgm``; bytes are written as they are."""
    folder.mkdir(exist_ok=True)
    for name, documents in files.items():
        head = '<!DOCTYPE lewis SYSTEM "lewis.dtd">\n'
        content = (
            documents
            if isinstance(documents, bytes)
            else (head + "".join(documents)).encode("latin-1")
        )
        (folder / f"reut2-{name}.sgm").write_bytes(content)
    return folder


def as_sgml(row: Mapping[str, Any], split: str) -> str:
    """Return a row of the JSON lines as a document."""
    return sgml(normal(row["title"], row["body"]), split, row["topics"], row["places"])


def tiny_reuters(folder: Path, **options: Any) -> Reuters:
    """Return the dataset of a folder of such texts, with options that fit them."""
    tiny: dict[str, Any] = {"min_texts": 2, "tokens": 24, **options}
    return Reuters(str(folder), **tiny)
