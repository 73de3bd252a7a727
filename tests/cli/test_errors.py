"""Every wrong input: a failing exit status, one helpful sentence, no traceback, nothing lost."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
import torch

from tests.support.commands import QUICK, Command, send

BARE = ("data=bare", "model=bare")

USER_MODULE = """
import torch
from torch import nn
from mtl_runner.data import Split
from mtl_runner.tasks.task import Task

class Data:
    def __init__(self, flaw=None):
        x, y = torch.randn(40, 3), torch.randn(40, 1)
        if flaw == "nan_input": x[3, 1] = float("nan")
        if flaw == "inf_target": y[2] = float("inf")
        if flaw == "poison": y[2] = 1e30
        kind = "regresion" if flaw == "kind" else "regression"
        self.tasks = [Task("a", kind), Task("a" if flaw == "twice" else "b")]
        cut = lambda n: Split(x[:n], {"a": y[:n], "b": y[:n]})
        self.splits = {"train": cut(40), "val": cut(0 if flaw == "empty" else 20), "test": cut(20)}
        if flaw == "length": self.splits["val"].targets["a"] = y[:7]
        if flaw == "no_test": del self.splits["test"]
        if flaw == "crash": raise RuntimeError("my own bug")

class Model(nn.Module):
    def __init__(self, flaw=None):
        super().__init__()
        self.flaw = flaw
        self.a, self.b = nn.Linear(3, 2 if flaw == "shape" else 1), nn.Linear(3, 1)
        if flaw == "unused": self.extra = nn.Linear(2, 2)
        self.hidden = {"b": nn.Linear(3, 1)}
    def forward(self, x):
        if self.flaw == "list": return [self.a(x), self.b(x)]
        if self.flaw == "dict": return {"a": self.a(x) + self.b(x), "b": self.hidden["b"](x)}
        if self.flaw == "missing": return {"a": self.a(x) + self.b(x)}
        return {"a": self.a(x), "b": self.b(x)}
"""

# Options, and what the last line of the error output must hold.
TOY = "data=toy_regression"
CASES: dict[str, tuple[tuple[str, ...], str]] = {
    "group option": (
        ("weighting=uncertanty",),
        "weighting=uncertanty does not exist; did you mean 'uncertainty'? allowed: adatask,",
    ),
    "group": (
        ("wheighting=fixed",),
        "There is no config key 'wheighting'; did you mean weighting?",
    ),
    "top key": (("sead=1",), "There is no config key 'sead'; did you mean seed or data.seed?"),
    "trainer key": (
        ("trainer.epoch=3",),
        "trainer.epoch is not an option of TrainerOptions; did you mean 'epochs'?",
    ),
    "record key": (
        ("record.plot=all",),
        "record.plot is not an option of RecordOptions; did you mean 'plots'?",
    ),
    "word for number": (
        ("trainer.epochs=many",),
        "trainer.epochs must be auto or a whole number of at least 1; found 'many'.",
    ),
    "negative number": (
        ("trainer.epochs=-1",),
        "trainer.epochs must be auto or a whole number of at least 1; found -1.",
    ),
    "seed": (("seed=x",), "seed must be a whole number of at least 0; found 'x'."),
    "share": (("share=maybe",), "share must be true or false; found 'maybe'."),
    "clip": (("trainer.clip=0",), "trainer.clip must be a positive number; found 0."),
    "plots": (("record.plots=some",), "record.plots='some' is unknown; allowed: all, best, none."),
    "learning rate": (
        ("optimizer.lr=fast",),
        "optimizer.lr must be a finite number; found 'fast'.",
    ),
    "optimizer class": (
        ("optimizer._target_=torch.optim.Adamm",),
        "optimizer._target_='torch.optim.Adamm' cannot be imported",
    ),
    "optimizer option": (
        ("optimizer.betta=1",),
        "optimizer.betta is not an option of Adam; did you mean 'betas'?",
    ),
    "closure": (
        ("optimizer=lbfgs", "update=per_task"),
        "L-BFGS evaluates the losses several times per step, which only update=joint does, and only for the model's parameters; use update=joint",
    ),
    "scheduler": (
        ("trainer.lr_scheduler=cosin",),
        "trainer.lr_scheduler='cosin' is unknown; use cosine, null, or {_target_:",
    ),
    "monitor": (
        ("trainer.monitor=y1.rmsee",),
        "trainer.monitor='y1.rmsee' is unknown; did you mean 'y1.rmse'?",
    ),
    "no gpu": (("trainer.device=cuda:99",), "use auto or cpu."),
    "device": (
        ("trainer.device=gpu",),
        "trainer.device='gpu' is not a device; use auto, cpu, cuda or cuda:0.",
    ),
    "weight task": (
        ("weighting=fixed", "weighting.weights.y3=1"),
        "weighting.weights names the unknown task 'y3'; allowed: y1, y2.",
    ),
    "weight type": (
        ("weighting=fixed", "weighting.weights.y1=abc"),
        "weighting.weights.y1 must be a number; found 'abc'.",
    ),
    "weight sign": (
        ("weighting=fixed", "weighting.weights.y1=-1"),
        "weighting.weights must be finite, not negative and not all 0;",
    ),
    "normalize": (
        ("weighting=fixed", "weighting.normalize=max"),
        "weighting.normalize='max' is unknown; allowed: none, sum, mean.",
    ),
    "form": (
        ("weighting.form=kendal",),
        "weighting.form='kendal' is unknown; did you mean 'kendall'?",
    ),
    "solver": (
        ("weighting.solver=newton",),
        "weighting.solver='newton' is unknown; allowed: gradient, closed_form.",
    ),
    "frozen": (
        ("weighting.frozen.y1=-3",),
        "weighting.frozen.y1 must be a positive sigma; found -3.0.",
    ),
    "foreign option": (
        ("weighting.temperature=2",),
        "weighting.temperature is not an option of Uncertainty;",
    ),
    "stage task": (
        ("weighting=staged", "schedule.start.y9=3"),
        "schedule.start names the unknown task 'y9'; allowed: y1, y2.",
    ),
    "stage time": (
        ("weighting=staged", "schedule.start.y1=soon"),
        "schedule.start.y1='soon' is not a time; write epochs (200),",
    ),
    "nobody active": (
        ("weighting=staged", "schedule.start={y1: 1, y2: 2}"),
        "schedule: no task is active at step 0 (epoch 0);",
    ),
    "group task": (
        ("weighting=per_task_adam", "update.groups=[[y1],[y3]]"),
        "update.groups names the unknown task 'y3'; allowed: y1, y2.",
    ),
    "group left out": (
        ("weighting=per_task_adam", "update.groups=[[y1]]"),
        "update.groups leaves out the task 'y2';",
    ),
    "gradients": (
        ("weighting=per_task_adam", "update.gradients=old"),
        "update.gradients='old' is unknown; allowed: same, fresh.",
    ),
    "subset": (("data.tasks=[y7]",), "data.tasks names the unknown task 'y7'; allowed: y1, y2."),
    "no rows": (("data.n=0",), "data.n must be a whole number of at least 1; found 0."),
    "batch size": (
        ("data.batch_size=0",),
        "data.batch_size must be auto or a whole number of at least 1; found 0.",
    ),
    "data key": (
        ("data.batch_sizes=3",),
        "data.batch_sizes is not an option of ToyRegression; did you mean 'batch_size'?",
    ),
    "hidden": (
        ("model.hidden=64",),
        "model.hidden must be a list of positive widths, e.g. [64, 64]; found 64.",
    ),
    "model key": (
        ("model.hiden=[64]",),
        "model.hiden is not an option of SeparateMLPs; did you mean 'hidden'?",
    ),
    "activation": (
        ("model.activation=relux",),
        "model.activation='relux' is unknown; allowed: relu, gelu, silu, tanh.",
    ),
    "target import": (
        ("model._target_=nomod.X",),
        "model._target_='nomod.X' cannot be imported (No module named 'nomod').",
    ),
    "not a module": (
        ("model._target_=builtins.dict", "model={hidden: 1}"),
        "model._target_ made a dict; it must make a torch.nn.Module.",
    ),
    "diverging": (
        ("optimizer=sgd", "optimizer.lr=1e6"),
        "The loss of task 'y1' became inf in epoch 1, step 3; lower optimizer.lr",
    ),
    "no path": (("data=table",), "data=table needs data.path, the CSV or Parquet file to read."),
    "no targets": (
        ("data=table", "data.path=t.csv"),
        "data=table needs data.targets, e.g. data.targets=",
    ),
    "no file": (
        ("data=table", "data.path=no.csv", "data.targets=[a]"),
        "There is no file 'no.csv' (looked in ",
    ),
    "no column": (
        ("data=table", "data.path=t.csv", "data.targets=[z]"),
        "data.targets: the table has no column 'z'; allowed: a, b, c.",
    ),
    "text target": (
        ("data=table", "data.path=t.csv", "data.targets={c: regression}"),
        "column 'c' holds 'x', which is not a number;",
    ),
    "kind": (
        ("data=table", "data.path=t.csv", "data.targets={a: regresion}"),
        "unknown kind 'regresion'; did you mean 'regression'?",
    ),
    "not a table": (
        ("data=table", "data.path=broken.parquet", "data.targets=[a]"),
        "The table 'broken.parquet' cannot be read (",
    ),
    "unparsable": (
        ("data.targets={a: b",),
        "The option 'data.targets={a: b' cannot be parsed; write key=value, and quote",
    ),
    "experiment": (
        ("experiment=nope",),
        "experiment=nope does not exist; allowed: collapse, collapse_groups, reuters_constant_factor, toy_uncertainty.",
    ),
    "a scheduler without a class": (
        ("trainer.lr_scheduler={}",),
        "trainer.lr_scheduler={} is unknown; use cosine, null, or {_target_: torch.optim.lr_scheduler...}.",
    ),
    "a flag for an option": (
        ("--weighting", "uncertainty"),
        "--weighting is no flag: options have no dashes, as in weighting=uncertainty.",
    ),
    "a flag with a value": (
        ("--trainer.epochs=3",),
        "--trainer.epochs=3 is no flag: options have no dashes, as in trainer.epochs=3.",
    ),
    "a key that is not there is taken away": (
        ("~model.nothing",),
        "~model.nothing takes nothing away: there is no config key 'model.nothing'; mtl-run --cfg job shows the keys.",
    ),
    "a value that is not there is taken away": (
        ("~seed=7",),
        "~seed=7 takes nothing away: seed is 0; write ~seed.",
    ),
    "another class with the options of the old one": (
        ("model._target_=mtl_runner.models.LeNet",),
        "model.hidden, model.activation, model.dropout are no options of LeNet; take them away with '~model.hidden' '~model.activation' '~model.dropout', or write a file conf/model/<name>.yaml with this _target_ for model=<name>.",
    ),
    "a misspelt flag": (
        ("--lst", "weighting"),
        "--lst is no option; did you mean '--list'? allowed: --cfg, --config-dir, ",
    ),
    "the beginning of a flag of ours": (
        ("--prun", "outputs"),
        "--prun is no option; did you mean '--prune'? allowed: --cfg, --config-dir, ",
    ),
    "a letter that is no flag": (("-z",), "-z is no option; allowed: --cfg, --config-dir, "),
    "another name of a method": (
        ("weighting=UW",),
        "weighting=UW does not exist; did you mean 'uncertainty'? allowed:",
    ),
    "an optimizer that is no file": (
        ("optimizer=sophia",),
        "allowed: adam, adamw, adamw_strong, lbfgs, sgd (any other class: optimizer._target_=my_package.MyOptimizer).",
    ),
    "an optimizer of timm": (
        ("optimizer=lion",),
        "allowed: adam, adamw, adamw_strong, lbfgs, sgd (any other class: optimizer._target_=timm.optim.Lion).",
    ),
    "an optimizer of torch": (
        ("optimizer=rmsprop",),
        "allowed: adam, adamw, adamw_strong, lbfgs, sgd (any other class: optimizer._target_=torch.optim.RMSprop).",
    ),
    "the path of a class": (
        ("optimizer=torch.optim.SGD",),
        "allowed: adam, adamw, adamw_strong, lbfgs, sgd (any other class: optimizer._target_=torch.optim.SGD).",
    ),
    "debugging without a plus": (
        ("debug=true",),
        "There is no config key 'debug'; write +debug=true.",
    ),
    "a study that does not exist": (
        ("+study=quik",),
        "A study is many runs: write mtl-run -m +study=fair ..., with the sweeper that it brings.",
    ),
    "a start without a schedule that has one": (
        ("schedule.start.y1=50%",),
        "schedule.start is not an option of Schedule; allowed: none (mtl-run --list schedule shows what else there is, with options).",
    ),
    "a folder for a table": (
        ("data=table", "data.path=.", "data.targets=[a]"),
        "'.' is a folder; set data.path to a table in it, as CSV or Parquet.",
    ),
    "a logger": (
        ("logger=wandb",),
        "There is no config key 'logger'; did you mean tracker? mtl-run --list tracker names them.",
    ),
    "no directory to resume": (
        ("resume=",),
        "resume= needs a run directory, e.g. resume=outputs/my_run.",
    ),
    "a key without its group": (
        ("epochs=3",),
        "There is no config key 'epochs'; did you mean trainer.epochs?",
    ),
    "a key as it is called elsewhere": (
        ("learning_rate=3",),
        "There is no config key 'learning_rate'; did you mean optimizer.lr or weighting.lr?",
    ),
    "a list for weights by name": (
        ("weighting=fixed", "weighting.weights=[1,2]"),
        "weighting.weights must be a mapping; found a list.",
    ),
    "an option of another tool": (
        ("bf16=true",),
        "There is no config key 'bf16'; did you mean trainer.precision=bf16?",
    ),
    "an option of another tool in its group": (
        ("trainer.load_best_model_at_end=true",),
        "trainer.load_best_model_at_end is not an option of TrainerOptions; did you mean trainer.judge=best? allowed: accumulate, ",
    ),
    "a key that is like no other": (
        ("zebra=3",),
        "There is no config key 'zebra'; allowed: data, experiment, hydra, likelihood, model, name, optimizer, probe, record, schedule, search, seed, share, study, tracker, trainer, update, weighting.",
    ),
    "an added key that nobody reads": (
        ("+epochs=3",),
        "Nothing reads the key 'epochs' that +epochs=3 adds; did you mean trainer.epochs?",
    ),
    "an added key of which nothing is known": (
        ("+zebra={a: 1}",),
        "Nothing reads the key 'zebra' that +zebra={a: 1} adds; mtl-run --cfg job prints the keys that there are.",
    ),
    "an option of the loader": (
        ("data.workers=2",),
        "data.workers is not an option of ToyRegression; did you mean data.loader.workers? allowed:",
    ),
    "a network of a library": (
        ("model=resnet18",),
        "(a network of timm, torchvision or Hugging Face is model=backbone model.name=resnet18).",
    ),
    "no run": (
        ("resume=nowhere",),
        "The run directory 'nowhere' does not exist; give the path that mtl-run printed.",
    ),
    "not a run": (("repeat=.",), "The run directory '.' holds no run (no .hydra/config.yaml);"),
    "file in the way": (
        ("hydra.run.dir=t.csv/run",),
        "a file of that name is in the way; choose another hydra.run.dir.",
    ),
    "read-only": (
        ("hydra.run.dir=/proc/run",),
        "'/proc/run'; check the path, or choose another hydra.run.dir.",
    ),
    "loss term": (
        ("data.losses.smooth._target_=builtins.str",),
        "data.losses.smooth must be a callable of (outputs, targets) or (model, batch); str is not.",
    ),
    "nan input": (
        (*BARE, "data.flaw=nan_input"),
        "The inputs of the train split hold NaN or infinity (first in row 3);",
    ),
    "inf target": (
        (*BARE, "data.flaw=inf_target"),
        "Task 'a' has an infinite target in the train split;",
    ),
    "poisoned": (
        (*BARE, "data.flaw=poison", "optimizer=sgd"),
        "The loss of task 'a' became inf in epoch 1, step ",
    ),
    "unknown kind": (
        (*BARE, "data.flaw=kind"),
        "Task 'a' has the unknown kind 'regresion'; did you mean 'regression'?",
    ),
    "twice": (
        (*BARE, "data.flaw=twice"),
        "Two tasks are called 'a'; every task needs a name of its own.",
    ),
    "empty split": (
        (*BARE, "data.flaw=empty"),
        "The val split is empty; every split needs at least one row.",
    ),
    "lengths": (
        (*BARE, "data.flaw=length"),
        "Task 'a' has 7 targets in the val split, but its inputs have 20 rows.",
    ),
    "split missing": (
        (*BARE, "data.flaw=no_test"),
        "The dataset has no split 'test'; it needs train, val, test.",
    ),
    "user's bug": (
        (*BARE, "data.flaw=crash"),
        "RuntimeError: my own bug (raised in mine.py, line 19); run.log holds the traceback,",
    ),
    "output shape": (
        (*BARE, "model.flaw=shape"),
        "Task 'a': the model's output has shape (20, 2), but its target of shape (20, 1) needs (20, 1).",
    ),
    "unused parameter": (
        (*BARE, "model.flaw=unused"),
        "No task's loss reaches the model's parameter 'extra.weight';",
    ),
    "output list": (
        (*BARE, "model.flaw=list"),
        "The model returned a list; its forward must return {task: tensor}.",
    ),
    "plain dict": (
        (*BARE, "model.flaw=dict"),
        "Task 'b' uses a trainable tensor of shape (1, 3) that is not among the model's parameters;",
    ),
    "no output": (
        (*BARE, "model.flaw=missing"),
        "The model returned no output for task 'b' (it returned a).",
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with a user's module, configs and tables."""
    (tmp_path / "mine.py").write_text(USER_MODULE)
    for group, target in (("data", "mine.Data"), ("model", "mine.Model")):
        (tmp_path / "conf" / group).mkdir(parents=True)
        size = "batch_size: 20\n" if group == "data" else ""
        (tmp_path / "conf" / group / "bare.yaml").write_text(
            f"_target_: {target}\n{size}flaw: null\n"
        )
    (tmp_path / "t.csv").write_text("a,b,c\n" + "1,2,x\n3,4,y\n5,6,x\n" * 10)
    (tmp_path / "broken.parquet").write_text("this is no parquet")
    return tmp_path


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_input_gets_one_helpful_sentence(mtl: Command, folder: Path, case: str) -> None:
    """Breaks if a user sees a traceback, or a sentence that does not say what would be right."""
    options, expected = CASES[case]
    of_toy = () if any(o.startswith(("data=", "experiment=")) for o in options) else (TOY,)
    short = ("trainer.epochs=2", "record.plots=none")
    result = mtl("mtl-run", *of_toy, *short, *options, cwd=folder)
    assert result.code == 1, result.out + result.err
    assert expected in result.last_line
    assert "Traceback" not in result.out + result.err
    assert len(result.err.strip().splitlines()) == 1, result.err


def test_full_error_shows_the_traceback(mtl: Command, folder: Path) -> None:
    """Breaks if a developer cannot see where an error comes from."""
    result = mtl("mtl-run", *BARE, "data.flaw=crash", cwd=folder, HYDRA_FULL_ERROR="1")
    assert result.code != 0
    assert "Traceback" in result.err
    assert "my own bug" in result.err


def test_a_directory_with_another_run_is_left_untouched(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a second run overwrites the first one's results."""
    assert mtl("mtl-run", *QUICK, "hydra.run.dir=run").code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    result = mtl("mtl-run", *QUICK, "hydra.run.dir=run", "seed=1")
    assert result.code == 1
    assert (
        "run' holds a run with another config (seed is 0 there and 1 here); choose another hydra.run.dir"
        in result.last_line
    )
    assert before == {
        path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()
    }


@pytest.mark.long
def test_a_refused_run_leaves_its_directory_to_the_corrected_command(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if a mistyped option takes the directory from the command that is right."""
    refused = mtl("mtl-run", *QUICK, "record.conflicts=true", "hydra.run.dir=one")
    assert refused.code == 1
    corrected = mtl("mtl-run", *QUICK, "record.gradients=true", "hydra.run.dir=one")
    assert corrected.code == 0, corrected.err
    refused = mtl("mtl-run", "-m", *QUICK, "weighting=nope,fixed", "hydra.sweep.dir=sweep")
    assert refused.code == 1
    corrected = mtl("mtl-run", "-m", *QUICK, "weighting=dwa,fixed", "hydra.sweep.dir=sweep")
    assert corrected.code == 0, corrected.err


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (
            "hydra.run.dir=",
            "hydra.run.dir is empty; give the directory a name, e.g. hydra.run.dir=my_run.",
        ),
        (
            "name=../../../../x",
            "name must not lead out of its folder by '..'; found '../../../../x'.",
        ),
    ],
)
def test_a_run_is_not_written_where_nobody_expects_it(
    mtl: Command, tmp_path: Path, option: str, sentence: str
) -> None:
    """Breaks if a run is written among the user's files, or a config outside of outputs."""
    refused = mtl("mtl-run", *QUICK, option)
    assert (refused.code, refused.err.strip()) == (1, sentence)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_with_foreign_results_is_left_untouched(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a metrics.csv of unknown origin is overwritten."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.csv").write_text("precious")
    result = mtl("mtl-run", *QUICK, "hydra.run.dir=run")
    assert result.code == 1
    assert (
        "run' already holds a metrics.csv of unknown origin; choose another hydra.run.dir."
        in result.last_line
    )
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["metrics.csv"]


def test_resume_takes_no_other_option(mtl: Command) -> None:
    """Breaks if a resumed run silently goes on with another config."""
    assert mtl("mtl-run", *QUICK, "hydra.run.dir=run").code == 0
    result = mtl("mtl-run", "resume=run", "optimizer.lr=9")
    assert result.code == 1
    assert result.last_line.endswith(
        "takes no other option but trainer.epochs, data.loader, trainer.checkpoint_every, trainer.devices, trainer.timeout, record.checkpoints, record.interference, record.safetensors, tracker (found 'optimizer.lr=9'); use repeat=run to change something."
    )


def test_a_diverging_run_keeps_its_last_good_checkpoint(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a NaN destroys what was learned before it."""
    late = "trainer.lr_scheduler={_target_: torch.optim.lr_scheduler.MultiStepLR, milestones: [3], gamma: 1e12}"
    result = mtl(
        "mtl-run",
        "data=toy_regression",
        "optimizer=sgd",
        "optimizer.lr=1e-4",
        late,
        "trainer.epochs=9",
        "record.plots=none",
        "hydra.run.dir=run",
    )
    assert result.code == 1
    assert "The loss of task 'y1' became inf in epoch 4, step " in result.last_line
    metrics = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert metrics[-1].startswith("3,15,val,total")
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["epoch"] == 3
    assert '"status": "failed"' in (tmp_path / "run" / "summary.json").read_text()


@pytest.mark.long
def test_a_full_disk_is_one_sentence_and_loses_nothing(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a failed write leaves half a file or hides what was written before."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(small)],
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        result = mtl(
            "mtl-run",
            "data=toy_regression",
            "trainer.epochs=200",
            "model.hidden=[64]",
            "record.plots=none",
            f"hydra.run.dir={small / 'run'}",
        )
        assert result.code == 1
        assert result.last_line.startswith("The disk is full (writing")
        assert "resume=" in result.last_line
        assert "Traceback" not in result.err
        subprocess.run(["mount", "-o", "remount,size=20m", str(small)], check=True)
        assert mtl("mtl-run", f"resume={small / 'run'}").code == 0
        undisturbed = mtl(
            "mtl-run",
            "data=toy_regression",
            "trainer.epochs=200",
            "model.hidden=[64]",
            "record.plots=none",
            "hydra.run.dir=undisturbed",
        )
        assert undisturbed.code == 0
        assert (small / "run" / "metrics.csv").read_bytes() == (
            tmp_path / "undisturbed" / "metrics.csv"
        ).read_bytes()
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.long
def test_a_broken_checkpoint_is_named(mtl: Command, tmp_path: Path) -> None:
    """Breaks if a damaged file gives a traceback of the unpickler."""
    assert mtl("mtl-run", *QUICK, "hydra.run.dir=run").code == 0
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"garbage")
    (tmp_path / "run" / "summary.json").unlink()
    result = mtl("mtl-run", "resume=run")
    assert result.code == 1
    assert (
        "checkpoint.pt' cannot be read as a checkpoint; run again with mtl-run repeat="
        in result.last_line
    )


@pytest.mark.long
def test_a_killed_worker_is_reported_and_the_sweep_goes_on_when_resumed(
    mtl: Command, tmp_path: Path
) -> None:
    """Breaks if a SIGKILLed joblib worker ends in a traceback, or finished jobs are lost."""
    sweep = (
        "-m",
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
        "seed=0,1",
        "hydra.sweep.dir=sweep",
    )
    options = (
        "data=toy_regression",
        "model.hidden=[16]",
        "trainer.epochs=400",
        "record.plots=none",
    )

    def kill_a_worker(pid: int) -> None:
        def training() -> bool:
            return any((tmp_path / "sweep").glob("*/checkpoint.pt"))

        send(signal.SIGCONT, training)(pid)  # waits only
        for process in Path("/proc").iterdir():
            if process.name.isdigit() and _is_worker(process, pid):
                os.kill(int(process.name), signal.SIGKILL)
                return

    first = mtl("mtl-run", *sweep, *options, meanwhile=kill_a_worker)
    assert first.code == 1
    assert "Traceback" not in first.err
    assert "killed" in first.last_line
    assert "resume=true" in first.last_line
    second = mtl("mtl-run", *sweep, *options, "resume=true")
    assert second.code == 0, second.err
    assert len((tmp_path / "sweep" / "runs.csv").read_text().splitlines()) == 3


def _is_worker(process: Path, parent: int) -> bool:
    """Return whether a process, by its folder in /proc, is a joblib worker of this parent."""
    try:
        status = (process / "stat").read_text().rsplit(")", 1)[1].split()
        command = (process / "cmdline").read_bytes()
    except OSError:
        return False
    return int(status[2]) == parent and b"loky" in command and b"resource_tracker" not in command
