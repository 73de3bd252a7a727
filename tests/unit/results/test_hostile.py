"""Run directories that are damaged or laid as a trap: each costs its own run, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtl_runner.results.compare import compare, compare_directories
from tests.unit.results.run_builders import write_trained_run

TABLES = ("runs.csv", "comparison.csv", "verdicts.csv", "differences.csv")
OUTPUTS = (*TABLES, "report.html", "comparison.png")
Damage = Callable[[Path], object]


def write_sweep(folder: Path) -> Path:
    """Write two strategies with two seeds each; return the run that is to be damaged."""
    for number, (weighting, seed) in enumerate(
        [("fixed", 0), ("fixed", 1), ("dwa", 0), ("dwa", 1)]
    ):
        write_trained_run(folder / f"{number}_{weighting}", weighting, seed, epochs=3)
    return folder / "2_dwa"


def summary(change: Callable[[dict[str, Any]], object]) -> Damage:
    """Return a damage that changes the content of summary.json."""

    def damage(run: Path) -> None:
        path = run / "summary.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return damage


def summary_text(data: bytes) -> Damage:
    """Return a damage that replaces summary.json."""
    return lambda run: (run / "summary.json").write_bytes(data)


def metrics(change: Callable[[bytes], bytes]) -> Damage:
    """Return a damage that changes metrics.csv."""

    def damage(run: Path) -> None:
        path = run / "metrics.csv"
        path.write_bytes(change(path.read_bytes()))

    return damage


def overrides(text: str) -> Damage:
    """Return a damage that replaces overrides.yaml of a run that was killed early."""

    def damage(run: Path) -> None:
        (run / "summary.json").unlink()
        (run / ".hydra" / "overrides.yaml").write_text(text)

    return damage


def instead_of(name: str, make: Callable[[Path], object]) -> Damage:
    """Return a damage that puts something else in the place of a file."""

    def damage(run: Path) -> None:
        (run / name).unlink()
        make(run / name)

    return damage


ALIASES = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(8)
)
BROKEN: dict[str, tuple[Damage, str]] = {
    "empty": (summary_text(b""), "summary.json: it is empty"),
    "list": (summary_text(b"[]"), "summary.json: it holds no JSON object"),
    "null": (summary_text(b"null"), "summary.json: it holds no JSON object"),
    "binary": (summary_text(bytes(range(256))), "summary.json: it is no UTF-8 text"),
    "zeros": (summary_text(bytes(2000)), "summary.json: it is no valid JSON (line 1)"),
    "nested": (
        summary_text(b"[" * 100000 + b"]" * 100000), "summary.json: it is nested too deeply",
    ),
    "huge number": (
        summary_text(b'{"status": "running", "seed": ' + b"9" * 5000 + b"}"),
        "summary.json: it holds a number or a text that cannot be read",
    ),
    "half a character": (
        summary_text(b'{"status": "failed", "reason": "\\ud800"}'),
        "summary.json: it holds a number or a text that cannot be read",
    ),
    "infinite seed": (
        summary(lambda s: s.update(seed=float("inf"))),
        "summary.json: seed must be a whole number or null",
    ),
    **{
        f"without {name}": (
            summary(lambda s, name=name: s.pop(name)),  # type: ignore[misc]
            f"summary.json: a finished run must have {name}",
        )
        for name in ("monitor", "tasks", "time", "epochs")
    },
    "newer": (
        summary(lambda s: s.update(format=99, status="paused")),
        "summary.json: it was written by a newer mtl-runner (format 99; this one reads up to 1); update mtl-runner to read it",
    ),
    "format": (
        summary(lambda s: s.update(format="1")), "summary.json: format must be a whole number",
    ),
    "status": (
        summary(lambda s: s.update(status="whatever")),
        "summary.json: status must be one of finished, failed, interrupted, running, queued",
    ),
    "text for a number": (
        summary(lambda s: s["monitor"].update(best="abc")),
        "summary.json: monitor.best must be a number or null",
    ),
    "text for a metric": (
        summary(lambda s: s["tasks"]["y1"]["final"]["val"].update(loss="oops")),
        "summary.json: final of task 1 must be an object of numbers",
    ),
    "semicolons": (
        metrics(lambda data: data.replace(b",", b";")),
        "metrics.csv: its first line must name the columns epoch, split, task between commas, each once",
    ),
    "no header": (
        metrics(lambda data: data.split(b"\n", 1)[1]),
        "metrics.csv: its first line must name the columns epoch, split, task between commas, each once",
    ),
    "latin-1": (
        metrics(lambda data: data.replace(b"y1", b"\xe9")), "metrics.csv: it is no UTF-8 text",
    ),
    "extra column": (
        metrics(lambda data: data.replace(b"train,", b"train,,", 1)),
        "metrics.csv: line 2 has 10 cells; the first line has 9",
    ),
    "text in numbers": (
        metrics(lambda data: data.replace(b"\n1,10,train,y1,", b"\n1,10,train,y1,abc", 1)),
        "metrics.csv: line 2 has a text where a number must be",
    ),
    "huge cell": (
        metrics(lambda data: data + b'"' + b"x" * 200000 + b'"\n'),
        "metrics.csv: line 17 is no line of a CSV file",
    ),
    "overrides broken": (overrides("- a: [\n}"), ".hydra/overrides.yaml: it is no valid YAML"),
    "overrides tag": (
        overrides('- !!python/object/apply:os.system ["touch PWNED"]\n'),
        ".hydra/overrides.yaml: it holds no list of options",
    ),
    "overrides number": (overrides("5\n"), ".hydra/overrides.yaml: it holds no list of options"),
    "overrides bomb": (overrides(ALIASES), ".hydra/overrides.yaml: it holds no list of options"),
    "overrides empty": (overrides(""), ".hydra/overrides.yaml: it is empty"),
    "overrides large": (
        overrides("- a=" + "x" * (1 << 18)), ".hydra/overrides.yaml: it is larger than 256 KiB",
    ),
    **{
        f"{name} is {object_name}": (instead_of(name, make), f"{name}: it is no regular file")
        for name in ("summary.json", "metrics.csv")
        for object_name, make in {
            "a pipe": os.mkfifo,
            "a directory": os.mkdir,
            "a device": lambda path: path.symlink_to("/dev/zero"),
        }.items()
    },
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_damaged_file_makes_its_own_run_broken(tmp_path: Path, case: str) -> None:
    """Breaks if one odd file costs the whole comparison, or the run vanishes without a word."""
    damage, reason = BROKEN[case]
    run = write_sweep(tmp_path)
    damage(run)
    comparison = compare_directories([tmp_path], tmp_path / "out", plots=False)
    broken = comparison.runs[comparison.runs["status"] == "broken"]
    assert broken[["run", "reason"]].values.tolist() == [["../2_dwa", reason]] or broken[
        "reason"
    ].tolist() == [reason]
    assert (comparison.total, comparison.failed) == (4, 1)
    assert f"2_dwa: broken: {reason}" in comparison.text()
    page = (tmp_path / "out" / "report.html").read_text()
    assert reason.replace('"', "&#34;") in page


HARMLESS: dict[str, Damage] = {
    "byte order mark": lambda run: [
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        for path in (run / "summary.json", run / "metrics.csv")
    ],
    "lines of Windows": metrics(lambda data: data.replace(b"\n", b"\r\n")),
    "cut off": metrics(lambda data: data[:-3]),
    "no curves": lambda run: (run / "metrics.csv").unlink(),
    "unknown field": summary(lambda s: s.update(later={"a": [1]})),
    "infinite": summary(lambda s: s["monitor"].update(best=float("inf"))),
    "oldest format": summary(lambda s: s.pop("format", None)),
    "choice of nothing": summary(lambda s: s["choices"].update(data=None, weighting=None)),
    "unknown kind": summary(lambda s: s["tasks"]["y1"].update(kind="quantile")),
    "no split": summary(lambda s: s["tasks"]["y1"]["final"].pop("test")),
    "circle": lambda run: (run / "loop").symlink_to(run.parent),
    "config": lambda run: (run / ".hydra" / "config.yaml").write_bytes(bytes(range(256))),
    "multirun.yaml": lambda run: (run.parent / "multirun.yaml").write_bytes(bytes(range(256))),
    "study.json": lambda run: (run.parent / "study.json").write_text('{"jobs":'),
    "study.json of a pipe": lambda run: os.mkfifo(run.parent / "study.json"),
    "study.json of wrong types": lambda run: (run.parent / "study.json").write_text(
        json.dumps({"jobs": {run.name: {"strategy": 1, "role": None}}, "margin": 0.02})
    ),
    "study.json without roles": lambda run: (run.parent / "study.json").write_text(
        json.dumps({"jobs": {run.name: {}}, "margin": "wide"})
    ),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_what_can_be_read_counts(tmp_path: Path, case: str) -> None:
    """Breaks if a run is lost to something that does not change its numbers."""
    HARMLESS[case](write_sweep(tmp_path))
    comparison = compare(tmp_path)
    assert (comparison.total, comparison.failed) == (4, 0)


def test_nothing_is_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a foreign file brings the reader's environment into the report."""
    monkeypatch.setenv("MTL_SECRET", "hunter2")
    overrides("- weighting=dwa\n- optimizer.lr=${oc.env:MTL_SECRET}\n")(write_sweep(tmp_path))
    compare_directories([tmp_path], tmp_path / "out", plots=False)
    written = [path.read_bytes() for path in (tmp_path / "out").iterdir()]
    assert not any(b"hunter2" in data for data in written)
    assert any(b"${oc.env:MTL_SECRET}" in data for data in written)


def test_a_folder_that_may_not_be_entered_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if the runs of a closed folder are left out without a word."""
    closed = write_sweep(tmp_path)
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if os.fspath(path) == str(closed):
            raise PermissionError(13, "Permission denied", str(closed))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert "2_dwa: broken: the directory: permission denied" in compare(tmp_path).text()


def test_text_of_a_run_steers_neither_terminal_nor_spreadsheet(tmp_path: Path) -> None:
    """Breaks if a reason of a foreign run clears the screen, or a cell is a formula."""
    run = write_sweep(tmp_path)
    summary(
        lambda s: s.update(
            status="failed",
            reason="=1+1\x1b]0;owned\x07\n\u202eend",
            overrides=["weighting==1+1", "seed=0", "@a=1"],
            choices={**s["choices"], "weighting": "=1+1"},
        )
    )(run)
    comparison = compare_directories([tmp_path], tmp_path / "out", plots=False)
    texts = [comparison.text(style) for style in ("text", "md", "csv")]
    texts += [(tmp_path / "out" / name).read_text() for name in ("runs.csv", "comparison.csv")]
    assert all(sign.isprintable() or sign == "\n" for text in texts for sign in text)
    cells = [cell.strip('"') for text in texts[2:] for cell in text.replace("\n", ",").split(",")]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@"))]
    assert "'=1+1" in texts[3]


def test_every_output_replaces_a_link(tmp_path: Path) -> None:
    """Breaks if `mtl-compare` of a foreign directory overwrites a file of the reader."""
    sweep, victim = tmp_path / "sweep", tmp_path / "victim"
    write_sweep(sweep)
    for name in OUTPUTS:
        victim.joinpath(name).parent.mkdir(exist_ok=True)
        victim.joinpath(name).write_text("precious")
        (sweep / name).symlink_to(victim / name)
        (sweep / f".{name}.tmp").symlink_to(victim / name)
    compare_directories([sweep], sweep)
    assert [(victim / name).read_text() for name in OUTPUTS] == ["precious"] * len(OUTPUTS)
    assert not any((sweep / name).is_symlink() for name in OUTPUTS)


WATCH = """
import os, sys
from mtl_runner.results.command import main
import mtl_runner.results.pictures.comparison, mtl_runner.results.report.page_view, yaml, jinja2
folder = os.path.realpath(sys.argv[1])
def watch(event, arguments):
    if event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect"):
        os.write(2, f"{event} {arguments}\\n".encode())
    if event in ("import", "exec", "compile") and folder in str(arguments):
        os.write(2, f"{event} {arguments}\\n".encode())
    names = ()
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        names = arguments[:1] if arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) else ()
    if event in ("os.rename", "os.link", "os.symlink"):
        names = arguments[:2]
    if event in ("os.remove", "os.mkdir", "os.truncate", "os.chmod", "shutil.rmtree"):
        names = arguments[:1]
    for name in names:
        path = os.path.abspath(os.fsdecode(name))
        if not path.startswith(os.path.join(folder, "out")) and "/matplotlib" not in path:
            os.write(2, f"{event} {path}\\n".encode())
sys.addaudithook(watch)
main([sys.argv[1], "--output", os.path.join(sys.argv[1], "out")])
"""


@pytest.mark.long
def test_a_comparison_executes_nothing_and_writes_only_its_output(tmp_path: Path) -> None:
    """Breaks if a run directory, whatever it holds, has an effect outside the output."""
    run = write_sweep(tmp_path)
    overrides('- !!python/object/apply:os.system ["touch PWNED"]\n')(run)
    for folder in (tmp_path, run, run / ".hydra"):
        for name in ("sitecustomize.py", "yaml.py", "matplotlibrc", "pandas.py", "best.pt"):
            (folder / name).write_text("open('PWNED', 'w')")
    shutil.copytree(run, tmp_path / "5_copy")
    before = sorted(tmp_path.rglob("*"))
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", WATCH, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    outside = [
        path for path in tmp_path.rglob("*") if "out" not in path.relative_to(tmp_path).parts
    ]
    assert sorted(outside) == before
