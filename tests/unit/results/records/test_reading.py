"""Files of a run directory as plain values; what is not one is told in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtl_runner.results.records.reading import (
    UnreadableError,
    read_json,
    read_keys,
    read_options,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is empty"),
        ("[]", "it holds no JSON object"),
        ("null", "it holds no JSON object"),
        ('{"seed": 1', r"it is no valid JSON \(line 1\)"),
        ("[" * 100_000, "it is nested too deeply|it is no valid JSON"),
    ],
)
def test_what_is_no_json_object_is_told(tmp_path: Path, text: str, words: str) -> None:
    """Breaks if a broken summary.json stops the comparison, or passes for an empty one."""
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UnreadableError, match=words):
        read_json(tmp_path / "a.json")


def test_bytes_that_are_no_text_are_told(tmp_path: Path) -> None:
    """Breaks if one latin-1 letter ends in a decoding error."""
    (tmp_path / "a.json").write_bytes(b'{"reason": "\xe9"}')
    with pytest.raises(UnreadableError, match="it is no UTF-8 text"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    "text", ["a: 1\n", "- [1]\n", "- {a: 1}\n", "- *x\n", "{", "- a\n---\n- b\n"]
)
def test_what_is_no_list_of_options_is_told(tmp_path: Path, text: str) -> None:
    """Breaks if an alias, a mapping or a second document is read as options."""
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UnreadableError, match=r"it holds no list of options|it is no valid YAML"):
        read_options(tmp_path / "a.yaml")


def test_tags_make_nothing_and_references_stay_text(tmp_path: Path) -> None:
    """Breaks if reading the options of a foreign run makes an object or reads the environment."""
    (tmp_path / "a.yaml").write_text("- !!python/object/apply:os.getcwd []\n")
    with pytest.raises(UnreadableError):
        read_options(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("- lr=${oc.env:HOME}\n")
    assert read_options(tmp_path / "a.yaml") == ["lr=${oc.env:HOME}"]


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("a: 1\nb: [x, {c: d}]\ne: {f: {g: h}}\n? [i]\n: j\nk:\n", ["a", "b", "e", "k"]),
        ("{}", []),
        ("- a\n- b: c\n", []),
        ("text", []),
    ],
)
def test_keys_are_those_at_the_top(tmp_path: Path, text: str, keys: list[str]) -> None:
    """Breaks if a key inside a value passes for an option, or a value for a key."""
    (tmp_path / "a.yaml").write_text(text)
    assert read_keys(tmp_path / "a.yaml") == keys


def test_a_missing_file_is_no_broken_one(tmp_path: Path) -> None:
    """Breaks if a run that was killed before it wrote anything counts as damaged."""
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "a.json")
