"""Run directories that attack their reader: ``load`` and ``compare`` execute nothing.

Every payload took effect before targets were checked, with one version of Hydra or another. What
happens meanwhile is seen through Python's audit events.
"""

from __future__ import annotations

import copy
import os
import pickle
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import mtl_runner
from mtl_runner.errors import ConfigError, RunDirectoryError
from mtl_runner.files import write_json
from mtl_runner.runs.records import read_summary
from mtl_runner.runs.runner import run
from tests.unit.runs.small_runs import tiny_request

# What no reader of a run directory does, by the names of Python's audit events.
STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn",
          "socket.connect", "socket.getaddrinfo", "urllib.Request", "webbrowser.open")  # fmt: skip
REMOVES = ("os.remove", "os.rename", "os.rmdir", "os.truncate", "os.chmod", "os.symlink")


class Watch:
    """Notes what Python does while it is on: an audit hook cannot be removed."""

    def __init__(self) -> None:
        self.on = False
        self.reset()

    def reset(self) -> None:
        """Forget what was noted."""
        self.started: list[str] = []
        self.written: list[str] = []
        self.read: list[str] = []

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Note one event."""
        if not self.on:
            return
        if event in STARTS:
            self.started.append(f"{event} {arguments}")
        elif event in REMOVES:
            self.written.append(f"{event} {arguments}")
        elif event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            path, _, flags = arguments
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            (self.written if writes else self.read).append(os.fsdecode(path))


WATCH = Watch()
sys.addaudithook(WATCH)


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Notes of what Python does during the test."""
    WATCH.reset()
    WATCH.on = True
    yield WATCH
    WATCH.on = False


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on the toy."""
    directory = tmp_path_factory.mktemp("runs") / "run"
    assert not run(tiny_request(directory)).error
    return directory


@pytest.fixture(scope="module")
def saved(finished: Path) -> dict[str, Any]:
    """The content of its best.pt."""
    content: dict[str, Any] = torch.load(finished / "best.pt", weights_only=True)
    return content


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that a payload makes if it takes effect; what payloads need lies beside it."""
    monkeypatch.chdir(tmp_path)
    Path("hub").mkdir()
    Path("hub/hubconf.py").write_text("open('TAKEN', 'w').close()\ndef m(): return 1\n")
    Path("helper.py").write_text("open('TAKEN', 'w').close()\nclass X: pass\n")
    Path("evil.pkl").write_bytes(pickle.dumps(Evil()))
    torch.save({"x": Evil()}, "evil.pt")
    return tmp_path / "TAKEN"


class Evil:
    """An object whose unpickling makes the marker."""

    def __reduce__(self) -> Any:
        return os.system, ("touch TAKEN",)


OPEN = "open('TAKEN', 'w').close()"
RUNSTRING = {"_target_": "numpy.testing.runstring", "_args_": [OPEN, {}]}
PAYLOADS: dict[str, dict[str, Any]] = {
    "os.system": {"command": "touch TAKEN"},
    "subprocess.call": {"args": ["touch", "TAKEN"]},
    "subprocess.run": {"args": ["touch", "TAKEN"]},
    "builtins.eval": {"_args_": [OPEN]},
    "builtins.exec": {"_args_": [OPEN]},
    "builtins.open": {"file": "TAKEN", "mode": "w"},
    "builtins.dict": {"x": RUNSTRING},
    "os.spawnlp": {"_args_": [0, "touch", "touch", "TAKEN"]},
    "timeit.timeit": {"stmt": OPEN, "number": 1},
    "cProfile.run": {"statement": OPEN},
    "profile.run": {"statement": OPEN},
    "pandas.eval": {"expr": "@__builtins__"},
    "numpy.testing.runstring": {"_args_": [OPEN, {}]},
    "numpy.testing.measure": {"code_str": OPEN},
    "torch.load": {"f": "evil.pt", "weights_only": False},
    "torch.serialization.load": {"f": "evil.pt", "weights_only": False},
    "torch.nn.modules.module.torch.load": {"f": "evil.pt", "weights_only": False},
    "mtl_runner.runs.predictor.torch.load": {"f": "evil.pt", "weights_only": False},
    "pandas.read_pickle": {"filepath_or_buffer": "evil.pkl"},
    "joblib.load": {"filename": "evil.pkl"},
    "numpy.load": {"file": "evil.pkl", "allow_pickle": True},
    "pickle.loads": {"_args_": [pickle.dumps(Evil(), 0).decode()]},
    "setuptools._distutils.spawn.spawn": {"cmd": ["touch", "TAKEN"]},
    "torch.utils.cpp_extension.load_inline": {
        "name": "x",
        "cpp_sources": '#include <cstdlib>\nstatic int a = system("touch TAKEN");',
        "functions": ["f"],
    },
    "torch.hub.load": {"repo_or_dir": "hub", "model": "m", "source": "local"},
    "webbrowser.get": {"_args_": ["touch TAKEN %s"]},
    "pytest.main": {"args": ["--version"]},
    "code.InteractiveInterpreter": {},
    "this.x": {},
    "helper.X": {},
    "mtl_runner.files.write_atomic": {"path": "TAKEN", "data": "x"},
    "mtl_runner.run": {"_args_": ["data=digits"]},
}
NESTED = {
    "activation": {"_target_": "mtl_runner.models.MLP", "hidden": [8], "activation": RUNSTRING},
    "a list": {"_target_": "torch.nn.Sequential", "_args_": [[{"x": RUNSTRING}]]},
}


def write(content: dict[str, Any], directory: Path, **changes: Any) -> Path:
    """Write a run directory with a changed best.pt, and return it."""
    directory.mkdir()
    torch.save({**copy.deepcopy(content), **changes}, directory / "best.pt")
    return directory


@pytest.mark.parametrize("place", ["model", "likelihood", "kind"])
@pytest.mark.parametrize("payload", [*PAYLOADS, *NESTED])
def test_a_payload_has_no_effect(
    saved: dict[str, Any], marker: Path, watch: Watch, payload: str, place: str
) -> None:
    """Breaks if the best.pt of somebody else runs code, imports a module or opens a file."""
    node = NESTED.get(payload) or {"_target_": payload, **PAYLOADS[payload]}
    tasks = [{**saved["tasks"][0], "kind": node}, *saved["tasks"][1:]]
    directory = write(
        saved, marker.parent / "run", **({"tasks": tasks} if place == "kind" else {place: node})
    )
    modules = set(sys.modules)
    watch.reset()
    with pytest.raises(RunDirectoryError) as error:
        mtl_runner.load(directory)
    watch.on = False
    assert set(sys.modules) == modules
    assert watch.started == watch.written == []
    assert set(watch.read) == {str(directory / "best.pt")}
    assert not marker.exists()
    sentence = str(error.value)
    assert sentence.startswith(f"'{directory}/best.pt' names code that is neither mtl-runner's nor")
    assert repr(payload if payload in PAYLOADS else "numpy.testing.runstring") in sentence
    assert re.search(
        r"only if you trust it, type mtl_runner\.load\('.+', trust=\[.+\]\), or in a terminal --trust .+\.$",
        sentence,
    )


def test_a_payload_would_take_effect_if_it_were_trusted(
    saved: dict[str, Any], marker: Path, watch: Watch
) -> None:
    """Breaks if the payloads are harmless, so that the tests above could not fail."""
    directory = write(saved, marker.parent / "run", model=RUNSTRING)
    with pytest.raises(ConfigError, match=r"made a NoneType; it must make a torch\.nn\.Module"):
        mtl_runner.load(directory, trust=["numpy.testing.runstring"])
    assert marker.exists()
    assert "TAKEN" in watch.written


def test_a_run_of_ours_reads_its_best_model_only(
    finished: Path, watch: Watch, tmp_path: Path
) -> None:
    """Breaks if `load` downloads, or opens a path that a run has recorded."""
    mtl_runner.load(finished)  # modules that are imported when they are first used
    watch.reset()
    predictor = mtl_runner.load(finished)
    watch.on = False
    assert watch.started == watch.written == []
    assert set(watch.read) == {str(finished / "best.pt")}
    assert set(predictor.predict(torch.zeros(2, 1))) == {"y1", "y2"}


def test_a_module_beside_the_run_is_not_imported(
    saved: dict[str, Any], marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if `cd downloaded_run; python -c "load('.')"` runs the code that lies there."""
    monkeypatch.syspath_prepend(str(marker.parent))
    write(saved, marker.parent / "run", model={"_target_": "helper.X"})
    with pytest.raises(
        RunDirectoryError,
        match=r"type mtl_runner\.load\('run', trust=\['helper'\]\), or in a terminal --trust helper\.$",
    ):
        mtl_runner.load("run")
    assert not marker.exists()
    with pytest.raises(ConfigError, match=r"it must make a torch\.nn\.Module"):
        mtl_runner.load("run", trust=["helper"])
    assert marker.exists()


def test_a_pickle_in_the_place_of_the_model_is_refused(marker: Path) -> None:
    """Breaks if best.pt is unpickled with more than tensors and plain values."""
    directory = marker.parent / "run"
    directory.mkdir()
    for content in (Path("evil.pt").read_bytes(), Path("evil.pkl").read_bytes()):
        (directory / "best.pt").write_bytes(content)
        with pytest.raises(RunDirectoryError, match="cannot be read as a checkpoint"):
            mtl_runner.load(directory)
        assert not marker.exists()


@pytest.mark.parametrize(
    "target", [torch.nn.Parameter, torch._utils._rebuild_tensor_v2], ids=["class", "function"]
)
def test_an_object_in_the_place_of_a_path_is_refused(
    saved: dict[str, Any], tmp_path: Path, target: Any
) -> None:
    """Breaks if a class that torch unpickles as it is becomes a target."""
    directory = write(saved, tmp_path / "run", model={"_target_": target})
    with pytest.raises(RunDirectoryError, match=r"model\._target_ is a |cannot be read as"):
        mtl_runner.load(directory)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tasks": 3}, "object of type 'int' has no len"),
        ({"tasks": [{"name": "y1"}]}, "'kind'"),
        ({"input_shape": None}, "'NoneType' object is not iterable"),
        ({"weights": {"": {}}}, "Error(s) in loading state_dict for SeparateMLPs"),
        ({"weights": {"other": {}}}, "'other'"),
        ({"preprocessing": {"columns": [RUNSTRING]}}, "unexpected keyword argument"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    saved: dict[str, Any], tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    """Breaks if a foreign best.pt ends in a traceback."""
    directory = write(saved, tmp_path / "run", **changes)
    with pytest.raises(RunDirectoryError, match=re.escape(reason)) as error:
        mtl_runner.load(directory)
    assert str(error.value).startswith(f"The model in '{directory}/best.pt' cannot be rebuilt (")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [{"epoch": 1}, [1], 3])
def test_another_file_is_no_best_model(tmp_path: Path, content: Any) -> None:
    """Breaks if weights of somebody else's end in a KeyError."""
    torch.save(content, tmp_path / "best.pt")
    with pytest.raises(RunDirectoryError, match=r"has no 'tasks'|cannot be read as a checkpoint"):
        mtl_runner.load(tmp_path)


def test_a_comparison_makes_no_objects(
    finished: Path, saved: dict[str, Any], marker: Path, watch: Watch
) -> None:
    """Breaks if `mtl-compare` makes an object of a config, a kind or a metric of a run."""
    mtl_runner.compare(finished)  # modules that are imported when they are first used
    directory = write(saved, marker.parent / "run", model=RUNSTRING)
    for name in ("metrics.csv", ".hydra/run.json"):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_bytes((finished / name).read_bytes())
    evil = dict.fromkeys(("model", "data", "likelihood", "weighting", "optimizer"), RUNSTRING)
    (directory / ".hydra" / "config.yaml").write_text(yaml.safe_dump(evil))
    summary = read_summary(finished)
    for task in summary["tasks"].values():
        task["kind"] = RUNSTRING
    write_json(directory / "summary.json", summary)
    modules = set(sys.modules)
    watch.reset()
    comparison = mtl_runner.compare(directory)
    watch.on = False
    assert len(comparison.runs) == 1
    assert watch.started == watch.written == []
    assert set(sys.modules) == modules
    assert not marker.exists()
