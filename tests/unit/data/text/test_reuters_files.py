"""Reuters-21578 as it lies on disk: which texts are read, and what is said of wrong files."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mtl_runner.data.text.reuters_files import Document, read_collection
from mtl_runner.errors import ConfigError, DataError
from tests.support.reuters_folders import as_sgml, normal, sgml, texts, write_json, write_sgml

GOOD = texts(6)


# SGML


def test_lewissplit_and_topics_give_the_modapte_split(tmp_path: Path) -> None:
    """Breaks the ModApte rules.

    TRAIN and TEST with TOPICS="YES"; NOT-USED, and texts no indexer saw, belong to neither.
    """
    write_sgml(
        tmp_path,
        a=[
            sgml(normal("a", "x"), "TRAIN", ["grain"]),
            sgml(normal("b", "x"), "NOT-USED", ["grain"]),
            sgml(normal("c", "x"), "TRAIN", ["grain"], marked="NO"),
            sgml(normal("d", "x"), "TEST", ["grain"], marked="BYPASS"),
        ],
        b=[sgml(normal("e", "x"), "TEST", ["grain"]), sgml(normal("f", "x"), "TRAIN", ["grain"])],
    )
    collection = read_collection(tmp_path)
    assert [d.title for d in collection.train] == ["a", "f"]
    assert collection.test is not None
    assert [d.title for d in collection.test] == ["e"]


def test_a_topic_needs_a_training_and_a_test_text_and_a_text_one_of_the_topics(
    tmp_path: Path,
) -> None:
    """Breaks the 90 topics of the papers.

    With the topics of the training texts alone they would be 115.
    """
    write_sgml(
        tmp_path,
        a=[
            sgml(normal("both", "x"), "TRAIN", ["oil", "grain", "rye"]),
            sgml(normal("train only", "x"), "TRAIN", ["rye"]),
            sgml(normal("no topic", "x"), "TRAIN"),
            sgml(normal("test", "x"), "TEST", ["grain", "oil"]),
            sgml(normal("test only", "x"), "TEST", ["tin"]),
        ],
    )
    collection = read_collection(tmp_path)
    assert collection.topics == ("grain", "oil")
    assert [d.title for d in collection.train] == ["both"]
    assert collection.train[0].topics == ("oil", "grain", "rye")
    assert collection.test is not None
    assert [d.title for d in collection.test] == ["test"]


def test_a_list_of_topics_in_the_folder_wins(tmp_path: Path) -> None:
    """Breaks if `topics90.json` is not believed, or its order changes."""
    rows = [as_sgml(row, split) for row, split in zip(GOOD, ("TRAIN", "TEST") * 3, strict=True)]
    write_sgml(tmp_path, a=rows)
    (tmp_path / "topics90.json").write_text('{"topics90": ["oil", "gold"]}')
    assert read_collection(tmp_path).topics == ("oil", "gold")


@pytest.mark.parametrize(
    ("text", "title", "body"),
    [
        (
            normal("BAHIA &amp; CO", "A &lt;MCD> fell to 5 &gt; 4."),
            "BAHIA & CO",
            "A <MCD> fell to 5 > 4.",
        ),
        (
            '<TEXT TYPE="BRIEF">&#2;\n******<TITLE>OIL RISES</TITLE>Blah blah blah.\n&#3;\n</TEXT>',
            "OIL RISES",
            "******",
        ),
        (
            '<TEXT TYPE="UNPROC">&#2;\nSUGAR FREIGHTS\n Nil &#3;\n</TEXT>',
            "",
            "SUGAR FREIGHTS\n Nil",
        ),
        (
            "<TEXT><AUTHOR> By Me</AUTHOR><DATELINE>ROME</DATELINE><BODY>Told Reuters. REUTER\n&#3;</BODY></TEXT>",
            "",
            "Told Reuters.",
        ),
        ("<TEXT><TITLE>only\n this</TITLE><DATELINE>ROME</DATELINE></TEXT>", "only\n this", ""),
        ("", "", ""),
    ],
)
def test_title_and_body_are_what_a_reader_sees(
    tmp_path: Path, text: str, title: str, body: str
) -> None:
    """Breaks if something else than the news gets into the text, or a body gets lost.

    There are entities, control characters, the agency's sign-off, fillers and datelines.
    """
    write_sgml(
        tmp_path,
        a=[sgml(text, "TRAIN", ["tin"], ["usa", "uk"]), sgml(normal("t", "b"), "TEST", ["tin"])],
    )
    assert read_collection(tmp_path).train == [Document(title, body, ("tin",), ("usa", "uk"))]


def test_any_byte_can_be_read(tmp_path: Path) -> None:
    """Breaks on the real reut2-017.sgm, which has bytes that are not UTF-8."""
    rows = sgml(normal("Z\xfcrich", "caf\xe9 \x8f"), "TRAIN", ["tin"]) + sgml(
        normal("t", "b"), "TEST", ["tin"]
    )
    write_sgml(tmp_path, a=rows.encode("latin-1"))
    assert read_collection(tmp_path).train[0].title == "Zürich"


def test_both_layouts_give_the_same_collection(tmp_path: Path) -> None:
    """Breaks if a result depends on the layout somebody has."""
    train, test = texts(20), texts(8)
    write_sgml(
        tmp_path / "sgml",
        a=[as_sgml(row, "TRAIN") for row in train],
        b=[as_sgml(row, "TEST") for row in test],
    )
    write_json(tmp_path / "json", train=train, test=test, zipped=False)
    assert read_collection(tmp_path / "sgml") == read_collection(tmp_path / "json")


# JSON lines


@pytest.mark.parametrize("zipped", [True, False])
def test_json_lines_are_read_plain_and_zipped(tmp_path: Path, zipped: bool) -> None:
    """Breaks if a documented form cannot be read, or missing titles and additional fields hurt."""
    rows = [*GOOD, {"body": "No title.", "title": None, "topics": ["oil"], "places": [], "id": 7}]
    collection = read_collection(write_json(tmp_path, train=rows, zipped=zipped))
    assert len(collection.train) == 7
    assert collection.train[-1] == Document("", "No title.", ("oil",), ())
    assert collection.test is None
    assert collection.topics == ("gold", "grain", "oil")


def test_texts_without_one_of_the_listed_topics_are_left_out(tmp_path: Path) -> None:
    """Breaks the 7770 texts of the 90 topics."""
    collection = read_collection(write_json(tmp_path, ["gold"], train=GOOD, test=GOOD))
    assert all("gold" in d.topics for d in [*collection.train, *(collection.test or [])])
    assert 0 < len(collection.train) < len(GOOD)


# What can be wrong


LINE = json.dumps(GOOD[0])


def _no_folder(folder: Path) -> None:
    folder.rmdir()


def _lines(*lines: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "train.jsonl").write_text("\n".join(lines))

    return write


def _bytes(name: str, content: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return write


def _topics(content: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "topics90.json").write_text(content)
        _lines(LINE)(folder)

    return write


def _sgml(*documents: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        write_sgml(folder, a=documents)

    return write


TRAIN, TEST = (sgml(normal("t", "b"), split, ["tin"]) for split in ("TRAIN", "TEST"))
WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "no folder": (
        _no_folder,
        "is not a folder; it must hold reut2-*.sgm or train.jsonl (or train.jsonl.gz).",
    ),
    "empty folder": (
        lambda _: None,
        "holds neither reut2-*.sgm nor train.jsonl (or train.jsonl.gz).",
    ),
    "no text": (_lines(""), "train.jsonl holds no text; it needs one JSON object per line."),
    "no json": (
        _lines(LINE, "{'a'"),
        "Line 2 of {folder}/train.jsonl is not JSON (Expecting property name",
    ),
    "a list": (
        _lines("[1]"),
        "Line 1 of {folder}/train.jsonl is no JSON object; it needs title, body, topics and places.",
    ),
    "no topics": (
        _lines('{"body": "x"}'),
        "Line 1 of {folder}/train.jsonl needs 'topics', a list of names; found None.",
    ),
    "places": (
        _lines('{"body": "x", "topics": [], "places": "usa"}'),
        "needs 'places', a list of names; found 'usa'.",
    ),
    "title": (
        _lines('{"title": 3, "topics": [], "places": []}'),
        "needs 'title' to be a text; found 3.",
    ),
    "no words": (
        _lines('{"text": "x", "topics": [], "places": []}'),
        "has neither a title nor a body.",
    ),
    "not zipped": (
        _bytes("train.jsonl.gz", b"{}"),
        "train.jsonl.gz cannot be read as gzipped UTF-8 text (Not a gzipped file",
    ),
    "cut off": (
        _bytes("train.jsonl.gz", gzip.compress(LINE.encode())[:-9]),
        "cannot be read as gzipped UTF-8 text (",
    ),
    "latin-1": (_bytes("train.jsonl", b"\xfc"), "train.jsonl cannot be read as UTF-8 text ("),
    "topics: no json": (_topics("["), "topics90.json cannot be read as JSON ("),
    "topics: no list": (
        _topics('{"topics": ["tin"]}'),
        'topics90.json must hold {"topics90": [names of the topics]}.',
    ),
    "topics: empty": (
        _topics('{"topics90": []}'),
        'topics90.json must hold {"topics90": [names of the topics]}.',
    ),
    "topics: twice": (
        _topics('{"topics90": ["a", "b", "b"]}'),
        "names the topic 'b' 2 times; each must stand there once.",
    ),
    "topics: of no text": (
        _topics('{"topics90": ["tea"]}'),
        "No training text of {folder} has one of the 1 topics",
    ),
    "sgml: other": (
        _bytes("reut2-000.sgm", b"<html>"),
        "reut2-000.sgm holds no <REUTERS ...> element; is it a file of Reuters-21578?",
    ),
    "sgml: attribute": (
        _sgml(TRAIN, TEST.replace("LEWISSPLIT", "SPLIT")),
        "Text 2 of {folder}/reut2-a.sgm has no attribute LEWISSPLIT",
    ),
    "sgml: no test": (
        _sgml(TRAIN),
        "{folder} holds no test text of the ModApte split; are all 22 files",
    ),
    "sgml: no training": (
        _sgml(TEST),
        "{folder} holds no training text of the ModApte split; are all 22 files",
    ),
    "sgml: no topic": (
        _sgml(TRAIN, TEST.replace("tin", "tea")),
        "No topic of {folder} has both a training and a test text",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_folder_gets_its_sentence(tmp_path: Path, case: str) -> None:
    """Breaks if a user meets a traceback.

    The sentence says which file, which line and what would be right.
    """
    make, sentence = WRONG[case]
    make(tmp_path)
    with pytest.raises(DataError) as raised:
        read_collection(tmp_path)
    assert sentence.replace("{folder}", str(tmp_path)) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_without_a_path_the_sentence_says_what_to_give() -> None:
    """Breaks if `mtl-run data=reuters` alone ends in a traceback."""
    with pytest.raises(
        ConfigError, match=r"data=reuters needs data\.path, the folder of Reuters-21578"
    ):
        read_collection(None)
