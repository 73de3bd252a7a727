"""Reuters-21578 as it lies on disk: the original SGML files, or JSON lines.

This module knows nothing of words or tensors.
"""

from __future__ import annotations

import gzip
import html
import json
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from mtl_runner.errors import ConfigError, DataError

SGML_FILES = "reut2-*.sgm"
TOPICS_FILE = "topics90.json"


@dataclass(frozen=True)
class Document:
    """A news text with the names of its topics and places."""

    title: str
    body: str
    topics: tuple[str, ...]
    places: tuple[str, ...]


@dataclass(frozen=True)
class Collection:
    """The texts that have at least one of the topics.

    Attributes:
        train: The training texts.
        test: The test texts; None where the folder holds none.
        topics: The names of the topics.
    """

    train: list[Document]
    test: list[Document] | None
    topics: tuple[str, ...]


def read_collection(path: str | Path | None) -> Collection:
    """Return the texts of a folder, of either layout, that have at least one of the topics.

    The topics are those of ``topics90.json`` where the folder has it. Without it they are those
    with at least one training and one test text (90 in the ModApte split; Debole & Sebastiani,
    JASIST 2005), or, where there are no test texts, all that occur.

    Args:
        path: The folder.

    Raises:
        ConfigError: If the path is None.
        DataError: If the folder or a file in it is not as described.

    Example:
        >>> import json, tempfile
        >>> from pathlib import Path
        >>> from mtl_runner.data.text.reuters_files import read_collection
        >>> text = {"title": "Oil", "body": "up", "topics": ["crude"], "places": ["usa"]}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "train.jsonl").write_text(json.dumps(text))
        ...     read_collection(folder).topics
        ('crude',)
    """
    if path is None:
        raise ConfigError(
            "data=reuters needs data.path, the folder of Reuters-21578: its files reut2-*.sgm, or train.jsonl (or train.jsonl.gz)."
        )
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(
            f"data.path={str(path)!r} is not a folder; it must hold reut2-*.sgm or train.jsonl (or train.jsonl.gz)."
        )
    files = sorted(folder.glob(SGML_FILES))
    train, test = _read_sgml(files) if files else _read_json(folder)
    topics = (
        _listed_topics(folder / TOPICS_FILE)
        if (folder / TOPICS_FILE).exists()
        else _common_topics(train, test)
    )
    if not topics:
        raise DataError(
            f"No topic of {folder} has both a training and a test text; are all 22 files of Reuters-21578 there?"
        )
    train_kept = _with_topics(train, topics)
    if not train_kept:
        raise DataError(
            f"No training text of {folder} has one of the {len(topics)} topics; each needs one to be of use."
        )
    return Collection(train_kept, None if test is None else _with_topics(test, topics), topics)


def _with_topics(documents: Sequence[Document], topics: Sequence[str]) -> list[Document]:
    wanted = set(topics)
    return [document for document in documents if wanted.intersection(document.topics)]


def _common_topics(train: Sequence[Document], test: Sequence[Document] | None) -> tuple[str, ...]:
    topics_of_splits = [
        {topic for document in documents for topic in document.topics}
        for documents in (train, test)
        if documents is not None
    ]
    return tuple(sorted(set.intersection(*topics_of_splits)))


def _listed_topics(file: Path) -> tuple[str, ...]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise DataError(f"{file} cannot be read as JSON ({error}).") from None
    topics = content.get("topics90") if isinstance(content, dict) else None
    if not _is_list_of_names(topics) or not topics:
        raise DataError(f'{file} must hold {{"topics90": [names of the topics]}}.')
    topic, count = Counter(topics).most_common(1)[0]
    if count > 1:
        raise DataError(
            f"{file} names the topic {topic!r} {count} times; each must stand there once."
        )
    return tuple(topics)


def _is_list_of_names(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


_FILLER = re.compile(r"(\bblah\b[\s.]*)+$|\breuters?\s*$", re.IGNORECASE)


def _body(text: str) -> str:
    """Return the body without its last line, where that is the agency's name or a filler.

    A text that is a title only has the filler "Blah blah blah.".
    """
    return _FILLER.sub("", text.strip()).rstrip()


# JSON lines


def _read_json(folder: Path) -> tuple[list[Document], list[Document] | None]:
    train, test = (_existing_file(folder, name) for name in ("train", "test"))
    if train is None:
        raise DataError(
            f"data.path={str(folder)!r} holds neither {SGML_FILES} nor train.jsonl (or train.jsonl.gz)."
        )
    return _read_lines(train), None if test is None else _read_lines(test)


def _existing_file(folder: Path, name: str) -> Path | None:
    files = (folder / f"{name}.jsonl", folder / f"{name}.jsonl.gz")
    return next((file for file in files if file.is_file()), None)


def _read_lines(file: Path) -> list[Document]:
    try:
        raw = file.read_bytes()
        lines = (gzip.decompress(raw) if file.suffix == ".gz" else raw).decode("utf-8").split("\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(
            f"{file} cannot be read as {'gzipped ' if file.suffix == '.gz' else ''}UTF-8 text ({error})."
        ) from None
    documents = [
        _from_json(line, place=f"Line {number} of {file}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not documents:
        raise DataError(f"{file} holds no text; it needs one JSON object per line.")
    return documents


def _from_json(line: str, place: str) -> Document:
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise DataError(f"{place} is not JSON ({error}).") from None
    if not isinstance(fields, dict):
        raise DataError(f"{place} is no JSON object; it needs title, body, topics and places.")
    for name in ("topics", "places"):
        if not _is_list_of_names(fields.get(name)):
            raise DataError(f"{place} needs {name!r}, a list of names; found {fields.get(name)!r}.")
    for name in ("title", "body"):
        if not isinstance(fields.get(name, ""), str | None):
            raise DataError(f"{place} needs {name!r} to be a text; found {fields[name]!r}.")
    title, body = (fields.get(name) or "" for name in ("title", "body"))
    if not title and not body:
        raise DataError(f"{place} has neither a title nor a body.")
    return Document(title, _body(body), tuple(fields["topics"]), tuple(fields["places"]))


# SGML

_DOCUMENT = re.compile(r"<REUTERS\b([^>]*)>(.*?)</REUTERS>", re.DOTALL)
_ATTRIBUTE = re.compile(r'(\w+)\s*=\s*"([^"]*)"')
_ITEM = re.compile(r"<D>(.*?)</D>", re.DOTALL)
_ASIDE = re.compile(r"<(TITLE|DATELINE|AUTHOR)\b[^>]*>.*?</\1>", re.DOTALL)
_TAG = re.compile(r"</?[A-Z]+\b[^>]*>")


def _read_sgml(files: Sequence[Path]) -> tuple[list[Document], list[Document]]:
    """Return the training and test texts of the ModApte split.

    LEWISSPLIT says which a text belongs to, TOPICS="YES" that an indexer saw it.
    """
    train: list[Document] = []
    test: list[Document] = []
    for file in files:
        # One file has bytes outside ASCII and declares no encoding; Latin-1 reads any byte.
        elements = _DOCUMENT.findall(file.read_text(encoding="latin-1"))
        if not elements:
            raise DataError(
                f"{file} holds no <REUTERS ...> element; is it a file of Reuters-21578?"
            )
        for number, (head, content) in enumerate(elements, 1):
            attributes = dict(_ATTRIBUTE.findall(head))
            for name in ("LEWISSPLIT", "TOPICS"):
                if name not in attributes:
                    raise DataError(
                        f"Text {number} of {file} has no attribute {name}; the ModApte split needs it."
                    )
            documents = {"TRAIN": train, "TEST": test}.get(attributes["LEWISSPLIT"])
            if documents is not None and attributes["TOPICS"] == "YES":
                documents.append(_from_sgml(content))
    for name, documents in (("training", train), ("test", test)):
        if not documents:
            raise DataError(
                f"{files[0].parent} holds no {name} text of the ModApte split; are all 22 files of Reuters-21578 there?"
            )
    return train, test


def _from_sgml(content: str) -> Document:
    text = _element(content, "TEXT")
    body = _element(text, "BODY")
    if not body:  # TYPE="BRIEF" has a title only, TYPE="UNPROC" no structure at all
        body = _TAG.sub(" ", _ASIDE.sub(" ", text))
    topics, places = (_ITEM.findall(_element(content, tag)) for tag in ("TOPICS", "PLACES"))
    # unescape drops the control characters that end a text, such as &#3;
    return Document(
        html.unescape(_element(text, "TITLE")).strip(),
        _body(html.unescape(body)),
        tuple(topics),
        tuple(places),
    )


def _element(content: str, tag: str) -> str:
    """Return what stands between the first opening and closing tag, or nothing."""
    opening = re.search(rf"<{tag}\b[^>]*>", content)
    if opening is None:
        return ""
    return content[opening.end() :].partition(f"</{tag}>")[0]
