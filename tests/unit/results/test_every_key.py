"""Every key of every file that a comparison reads, missing or with a value of another kind."""

from __future__ import annotations

import copy
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mtl_runner.results.compare import compare, compare_directories
from tests.unit.results.run_builders import write_study, write_trained_run

DELETED = object()
WRONG = {
    "null": None,
    "list": [1],
    "text": "x",
    "number": 7,
    "deleted": DELETED,
    "object": {"a": 1},
    "true": True,
    "huge": 10**40,
    "nan": float("nan"),
}
Place = tuple[str | int, ...]
# What a run of today writes beside the fields that `write_trained_run` does.
MORE: dict[str, Any] = {
    "format": 1,
    "name": "run",
    "steps": 30,
    "plots": "best",
    "checkpoints": "both",
    "marks": {"y2 starts": 2},
    "interference": {"cosine": 0.5, "condition": None},
    "parameters": {"model": 10, "trained": 10, "shared": 5},
    "device": "cpu",
    "threads": 1,
}
MORE_OF_TASKS: dict[str, Any] = {
    "main_metric": "rmse",
    "metrics": {"rmse": {"higher_is_better": False, "in_delta_m": True}},
    "true_sigma": 0.5,
    "noise": {"val": {"sigma": 0.5}, "test": {}},
}
FILES = ("summary.json", ".hydra/overrides.yaml", ".hydra/config.yaml", "../study.json")


def write_runs(folder: Path) -> Path:
    """Write a study of two runs; return the run whose files are to be changed."""
    for name, weighting in (("0_fixed", "fixed"), ("1_dwa", "dwa")):
        path = write_trained_run(folder / name, weighting, epochs=3) / "summary.json"
        summary = {**json.loads(path.read_text()), **MORE}
        for task in summary["tasks"].values():
            task |= MORE_OF_TASKS
        path.write_text(json.dumps(summary))
        config = {"seed": 0, "weighting": {"_target_": "x"}, "trainer": {"epochs": 3}}
        (path.parent / ".hydra" / "config.yaml").write_text(json.dumps(config))
    roles = {"0_fixed": "equal", "1_dwa": "strategy"}
    jobs = {
        name: {"strategy": name[2:], "role": role, "lr": 0.1, "seed": 0}
        for name, role in roles.items()
    }
    write_study(folder, jobs, notes=["A note."])
    return folder / "1_dwa"


def places(content: Any, place: Place = ()) -> Iterator[Place]:
    """Yield the place of every value inside some content, its own place first."""
    yield place
    items: Any = ()
    if isinstance(content, dict):
        items = content.items()
    elif isinstance(content, list):
        items = enumerate(content)
    for key, item in items:
        yield from places(item, (*place, key))


def changed(content: Any, place: Place, value: object) -> str:
    """Return JSON, which is YAML too, of the content with another value at a place."""
    content = copy.deepcopy(content)
    if not place:
        return "" if value is DELETED else json.dumps(value)
    *path, key_to_change = place
    node = content
    for key in path:
        node = node[key]
    if value is DELETED:
        del node[key_to_change]
    else:
        node[key_to_change] = value
    return json.dumps(content)


def cases(content: Any, every: bool) -> Iterator[tuple[str, str]]:
    """Yield ``(what was done, the text of the file)``; of each place only one case unless every."""
    kinds = itertools.cycle(WRONG)
    for place in places(content):
        for kind in WRONG if every else [next(kinds)]:
            yield f"{place} is {kind}", changed(content, place, WRONG[kind])


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.long)])
@pytest.mark.parametrize("file", FILES)
def test_a_run_is_read_or_broken_in_words_whatever_a_key_holds(
    tmp_path: Path, file: str, every: bool
) -> None:
    """Breaks if one odd value costs the whole comparison, or its sentence is Python's own."""
    run = write_runs(tmp_path)
    path = run / file
    content = json.loads(path.read_text())
    if file == ".hydra/overrides.yaml":  # read where the summary does not tell them
        summary = json.loads((run / "summary.json").read_text())
        (run / "summary.json").write_text(json.dumps({"status": "running", "seed": 0}))
        assert summary["overrides"] == content
    reasons = set()
    for case, text in cases(content, every):
        path.write_text(text)
        comparison = (
            compare_directories([tmp_path], tmp_path.parent / f"{tmp_path.name}_out", plots=False)
            if every
            else compare(tmp_path)
        )
        table = comparison.runs
        assert comparison.total == 2, case
        assert "Error" not in comparison.text(), case
        broken = table[table["status"] == "broken"]
        assert all(name.endswith("1_dwa") for name in broken["run"]), case
        reasons |= set(broken["reason"])
    prefix = re.escape(file)
    sentence = re.compile(rf"{prefix}: [a-z].* (must|is|holds|was) .*")
    assert [reason for reason in reasons if not sentence.fullmatch(reason)] == []
    assert bool(reasons) == (file in FILES[:2])
