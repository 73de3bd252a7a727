"""Reuters-21578 as a multi-task problem, and a constant factor on its loss; the real texts only where the folder of real data is."""

from __future__ import annotations

import csv
import json
import math
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

import mtl_runner
from mtl_runner.data import Reuters
from mtl_runner.data.dataset import Prepared, prepare
from mtl_runner.errors import ConfigError, DataError
from mtl_runner.models import TextRCNN
from mtl_runner.weighting import Fixed
from tests.support.builders import flat, make_learner, same_bits, train
from tests.support.commands import Command, send
from tests.unit.data.reuters_folders import HOMES, PRICES, texts, write_json

ROWS = 120
TINY = (
    "data=reuters", "data.min_texts=2", "data.tokens=24", "data.words=60", "data.batch_size=16", "model.embedding=12",
    "model.hidden=8", "model.features=24", "record.plots=none", "trainer.device=cpu",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_json(tmp_path / "reuters", train=texts(ROWS))


def read(folder: Path, **options: object) -> Reuters:
    return Reuters(str(folder), **{"min_texts": 2, "tokens": 24, **options})  # type: ignore[arg-type]


def test_two_multilabel_tasks_with_their_classes(folder: Path) -> None:
    """Breaks the names that configs, predictions and the README rely on."""
    prepared = prepare(read(folder))
    assert {t.name: (t.kind, t.size, t.classes, t.missing) for t in prepared.tasks} == {
        "topics": ("multilabel", 3, tuple(sorted(PRICES)), False),
        "places": ("multilabel", 3, tuple(sorted(HOMES)), False),
    }
    inputs = prepared.splits["train"].inputs
    assert isinstance(inputs, Tensor)
    assert inputs.dtype == torch.int64
    assert inputs.shape[1:] == (24,)


def test_labels_are_those_of_the_text_in_the_same_row(folder: Path) -> None:
    """Breaks if shuffling moves texts and labels apart: every text says its topics and places."""
    data = read(folder)
    for split in data.splits.values():
        for row, topics, places in zip(
            split.inputs, split.targets["topics"], split.targets["places"], strict=True
        ):
            words = {data.vocabulary.words[i - 2] for i in row.tolist() if i > 1}
            for labels, task, signs in (
                (topics, data.tasks[0], SIGNS),
                (places, data.tasks[1], SIGNS),
            ):
                named = {name for name, label in zip(task.classes, labels, strict=True) if label}
                assert named == {name for name in task.classes if signs[name] in words}


SIGNS = {
    "grain": "wheat",
    "oil": "crude",
    "gold": "bullion",
    "usa": "u.s.",
    "uk": "london",
    "japan": "tokyo",
}


@pytest.mark.parametrize(
    ("val", "test", "sizes"), [(0.1, 0.2, (84, 12, 24)), (0.25, 0.5, (30, 30, 60))]
)
def test_shares_of_a_single_file(
    folder: Path, val: float, test: float, sizes: tuple[int, ...]
) -> None:
    """Breaks `data.val` and `data.test` where the folder holds no test texts."""
    splits = read(folder, val=val, test=test, words=1000).splits
    assert tuple(len(splits[name]) for name in ("train", "val", "test")) == sizes


def test_given_test_texts_are_the_test_split(tmp_path: Path) -> None:
    """Breaks comparisons with papers: the ModApte test texts must stay whole, in their order, and out of training."""
    given = [{**row, "title": f"HELD {i}"} for i, row in enumerate(texts(9))]
    folder = write_json(tmp_path / "a", train=texts(40), test=given)
    data = read(folder, val=0.25)
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == [30, 10, 9]
    expected = torch.tensor(
        [[float(name in row["topics"]) for name in data.tasks[0].classes] for row in given]
    )
    same_bits(data.splits["test"].targets["topics"], expected)


def test_splits_are_disjoint_and_complete(folder: Path) -> None:
    """Breaks honest validation, or loses texts: every text has a number of its own in its title."""
    write_json(
        folder,
        train=[
            {**row, "title": f"x{'abcdefghijklmnop'[i % 16]}q{'abcdefgh'[i // 16]}"}
            for i, row in enumerate(texts(ROWS))
        ],
    )
    data = Reuters(str(folder), words=1000, min_texts=2, val=0.1, test=0.2)
    numbers = data.splits["train"].inputs[:, 0].tolist()
    assert len(set(numbers)) == 84
    assert all(number > 1 for number in numbers)
    for name in ("val", "test"):
        assert set(data.splits[name].inputs[:, 0].tolist()) == {
            1
        }  # a title that no training text has


def test_same_seed_same_tensors(folder: Path) -> None:
    """Breaks reproducibility: nothing may depend on the global random state, on hashing or on an earlier reading."""
    first = read(folder)
    torch.manual_seed(123)
    again, other = read(folder), read(folder, seed=1)
    for name, split in first.splits.items():
        same_bits(again.splits[name].inputs, split.inputs)
        same_bits(again.splits[name].targets, split.targets)
    assert not torch.equal(
        other.splits["train"].targets["topics"], first.splits["train"].targets["topics"]
    )


def test_vocabulary_and_places_come_from_the_training_split_only(tmp_path: Path) -> None:
    """Breaks honest numbers: a word or a place that only held-back texts have must be unknown, however frequent it is there."""
    held = [{**row, "body": "secret " * 5, "places": ["atlantis"]} for row in texts(30)]
    data = read(write_json(tmp_path / "a", train=texts(40), test=held), words=1000)
    assert "secret" not in data.vocabulary.words
    assert "atlantis" not in data.tasks[1].classes
    assert data.splits["test"].inputs[0, 2:7].tolist() == [1] * 5
    assert not data.splits["test"].targets["places"].any()


def test_the_vocabulary_has_the_asked_size_and_rare_words_are_unknown(folder: Path) -> None:
    """Breaks `data.words`: numbers beyond the model's embedding."""
    data = read(folder, words=5)
    inputs = torch.cat([split.inputs for split in data.splits.values()])
    assert len(data.vocabulary) == 7
    assert int(inputs.max()) == 6
    assert bool((inputs == 1).any())


def test_a_place_needs_enough_training_texts(folder: Path) -> None:
    """Breaks `data.min_texts`: a place is a label exactly if so many training texts name it."""
    counts = read(folder, min_texts=1).splits["train"].targets["places"].sum(0)
    most = int(counts.max())
    assert len(read(folder, min_texts=most).tasks[1].classes) == int((counts == most).sum())
    with pytest.raises(
        DataError,
        match=rf"No place is named by {most + 1} of the 84 training texts; lower data\.min_texts\.",
    ):
        read(folder, min_texts=most + 1)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"words": 0}, "data.words must be a whole number of at least 1; found 0."),
        ({"tokens": 2.5}, "data.tokens must be a whole number of at least 1; found 2.5."),
        ({"min_texts": True}, "data.min_texts must be a whole number of at least 1; found True."),
        ({"val": 0}, "data.val must be a share between 0 and 1; found 0."),
        ({"test": 1.5}, "data.test must be a share between 0 and 1; found 1.5."),
        (
            {"val": 0.5, "test": 0.5},
            "data.val=0.5 and data.test=0.5 leave no training text; together they must be less than 1.",
        ),
        (
            {"val": 0.001},
            "The val split of 120 training texts would be empty with data.val=0.001 and data.test=0.2.",
        ),
    ],
)
def test_impossible_options_get_their_sentence(
    folder: Path, options: dict[str, object], sentence: str
) -> None:
    """Breaks if a wrong option ends in an error of torch."""
    with pytest.raises((ConfigError, DataError)) as raised:
        read(folder, **options)
    assert str(raised.value) == sentence


# A constant factor on the loss


def trained(prepared: Prepared, factor: float, optimizer: object, steps: int = 15) -> Tensor:
    """The weights after some steps of the topics' loss times a factor."""
    tasks = prepared.tasks[:1]
    torch.manual_seed(0)
    model = TextRCNN(tasks, (24,), words=200, embedding=6, hidden=4, features=8)
    split = prepared.splits["train"].rows(slice(0, 16))
    weighting = Fixed(tasks, weights={"topics": factor})
    learner = make_learner(tasks, split, model=model, weighting=weighting, optimizer=optimizer)  # type: ignore[arg-type]
    train(learner, split, steps)
    return flat(model)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW])
def test_adam_does_not_see_a_constant_factor_but_for_eps(folder: Path, optimizer: object) -> None:
    """Breaks the known experiment: "0.08 x loss" does nothing under Adam, and what little it does is eps."""
    prepared = prepare(read(folder))
    gaps = {}
    for eps in (1e-30, 1e-8, 1e-4):
        adam = partial(optimizer, lr=2e-3, eps=eps)  # type: ignore[operator]
        gaps[eps] = float(
            (trained(prepared, 1.0, adam) - trained(prepared, 0.08, adam)).abs().max()
        )
    assert gaps[1e-30] < 1e-10
    assert gaps[1e-30] < gaps[1e-8] < gaps[1e-4]


@pytest.mark.usefixtures("float64")
def test_sgd_takes_a_constant_factor_for_a_learning_rate(folder: Path) -> None:
    """Breaks the known experiment: under SGD the factor changes what is learned, and lr / 0.08 takes it back."""
    prepared = prepare(read(folder))
    sgd = partial(torch.optim.SGD, momentum=0.9)
    one = trained(prepared, 1.0, partial(sgd, lr=0.5))
    assert float((trained(prepared, 0.08, partial(sgd, lr=0.5)) - one).abs().max()) > 0.1
    assert float((trained(prepared, 0.08, partial(sgd, lr=0.5 / 0.08)) - one).abs().max()) < 1e-10


# The command


def metrics(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.long
def test_the_command_learns_the_tiny_texts(mtl: Command, folder: Path, tmp_path: Path) -> None:
    """Breaks `mtl-run data=reuters`: both tasks follow from the words, so both must be learned; and the model can be used."""
    run = tmp_path / "run"
    result = mtl(
        "mtl-run",
        *TINY,
        f"data.path={folder}",
        "optimizer.lr=0.02",
        "trainer.epochs=25",
        f"hydra.run.dir={run}",
    )
    assert result.code == 0, result.err
    last = {row["task"]: row for row in metrics(run) if row["split"] == "test"}
    assert float(last["topics"]["micro_f1"]) > 0.95
    assert float(last["places"]["micro_f1"]) > 0.8
    inputs = read(folder, words=60).splits["test"].inputs
    answers = mtl_runner.load(run).predict(inputs)
    assert {name: tuple(answer.shape) for name, answer in answers.items()} == {
        "topics": (24, 3),
        "places": (24, 3),
    }


@pytest.mark.parametrize(
    "options",
    [
        ("share=false", "weighting=fixed"),
        ("weighting=upgrad",),
        ("weighting=per_task_adam",),
        ("schedule=staged", "schedule.start.places=1"),
        ("weighting=heteroscedastic",),
    ],
)
def test_every_axis_takes_texts(
    mtl: Command, folder: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Breaks if a strategy assumes inputs of floating point, or gradients that a recurrent network does not have."""
    run = tmp_path / "run"
    result = mtl(
        "mtl-run",
        *TINY,
        f"data.path={folder}",
        "trainer.epochs=2",
        f"hydra.run.dir={run}",
        *options,
    )
    assert result.code == 0, result.err
    assert all(math.isfinite(float(row["loss"])) for row in metrics(run) if row["loss"])


@pytest.mark.long
def test_a_killed_run_resumes_to_the_same_bytes(mtl: Command, folder: Path, tmp_path: Path) -> None:
    """Breaks D5: a recurrent network and its dropout must go on as if nothing had happened."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    options = (*TINY, f"data.path={folder}", "trainer.epochs=12", "model.dropout=0.2")
    assert mtl("mtl-run", *options, f"hydra.run.dir={whole}").code == 0
    begun = send(signal.SIGKILL, lambda: (killed / "checkpoint.pt").exists())
    assert mtl("mtl-run", *options, f"hydra.run.dir={killed}", meddle=begun).code != 0
    assert mtl("mtl-run", f"resume={killed}").code == 0
    assert (killed / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()


@pytest.mark.long
def test_a_stack_falls_back_to_single_runs(mtl: Command, folder: Path, tmp_path: Path) -> None:
    """Breaks `-m hydra/launcher=stacked` with texts: every run must end, with what it would have learned alone."""
    options = (
        *TINY,
        f"data.path={folder}",
        "trainer.epochs=2",
        "seed=0,1",
        "hydra/launcher=stacked",
    )
    result = mtl("mtl-run", "-m", *options, f"hydra.sweep.dir={tmp_path / 'sweep'}")
    assert result.code == 0, result.err
    alone = mtl("mtl-run", *options[:-2], "seed=1", f"hydra.run.dir={tmp_path / 'alone'}")
    assert alone.code == 0, alone.err
    runs = sorted(path.parent for path in (tmp_path / "sweep").glob("*/metrics.csv"))
    assert len(runs) == 2
    found, expected = (float(metrics(run)[-2]["loss"]) for run in (runs[1], tmp_path / "alone"))
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.long
def test_the_experiment_sweeps_the_factor(mtl: Command, folder: Path, tmp_path: Path) -> None:
    """Breaks the command at the head of conf/experiment/reuters_constant_factor.yaml."""
    options = [option for option in TINY if option != "data=reuters"]
    result = mtl(
        "mtl-run", "-m", "experiment=reuters_constant_factor", "weighting.weights.topics=1,0.08", f"data.path={folder}",
        *options, "trainer.epochs=2", f"hydra.sweep.dir={tmp_path / 'sweep'}",
    )  # fmt: skip
    assert result.code == 0, result.err
    runs = sorted(path.parent for path in (tmp_path / "sweep").glob("*/metrics.csv"))
    assert [
        {row["weight"] for row in metrics(run) if row["task"] == "topics" and row["weight"]}
        for run in runs
    ] == [
        {"1.0"},
        {str(float(torch.tensor(0.08)))},
    ]


def test_a_missing_path_is_one_sentence(mtl: Command) -> None:
    """Breaks `mtl-run data=reuters` typed without a path."""
    result = mtl("mtl-run", "data=reuters")
    assert result.code != 0
    assert "data=reuters needs data.path, the folder of Reuters-21578" in result.last_line


# The real texts


def test_the_real_texts_are_read(shared_data: Path) -> None:
    """Breaks the 7770 texts, 90 topics and shares of the file that the README speaks of."""
    data = Reuters(str(shared_data / "reuters"))
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == [5439, 777, 1554]
    assert len(data.tasks[0].classes) == 90
    assert len(data.vocabulary) == 10_002
    everyone = torch.cat([split.targets["topics"] for split in data.splits.values()])
    counts = json.loads((shared_data / "reuters" / "topics90.json").read_text())["train_counts"]
    assert dict(zip(data.tasks[0].classes, everyone.sum(0).int().tolist(), strict=True)) == counts


@pytest.mark.long
def test_two_epochs_beat_the_trivial_predictor(shared_data: Path, tmp_path: Path) -> None:
    """Breaks D3: `data=reuters` with the default settings must learn real texts."""
    command = [
        str(Path(sys.executable).with_name("mtl-run")),
        "data=reuters",
        f"data.path={shared_data / 'reuters'}",
    ]
    command += [
        "data.tokens=40",
        "trainer.epochs=2",
        "record.plots=none",
        "trainer.device=cpu",
        "hydra.run.dir=run",
    ]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    last = {row["task"]: row for row in metrics(tmp_path / "run") if row["split"] == "test"}
    for task, least in (("topics", 0.5), ("places", 0.6)):
        assert float(last[task]["relative_loss"]) < 0.9
        assert float(last[task]["micro_f1"]) > least
