"""An evaluation measures all rows of a split: losses, metrics, likelihood, predicted noise."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mtl_runner.data.dataset import Split
from mtl_runner.data.items.item_split import ItemSplit
from mtl_runner.data.prepare import prepare
from mtl_runner.experiment.dataset import trivial_losses
from mtl_runner.experiment.forward import ForwardPass
from mtl_runner.gradients.part import Part
from mtl_runner.gradients.ranks import Ranks
from mtl_runner.likelihood import Heteroscedastic, Homoscedastic, Likelihood, Standard
from mtl_runner.tasks.task import Task, log_variance_key
from mtl_runner.train.evaluation import (
    Evaluation,
    batches_of_part,
    evaluate,
    sharing_ranks,
    sigma_statistics,
)
from tests.support.builders import (
    KINDS,
    ROWS,
    Data,
    assert_near,
    evaluate_split,
    make_mlp,
    make_split,
    predict_split,
)
from tests.support.likelihoods import nll_by_hand, predicting_noise, with_gaps
from tests.unit.tasks.pixels import (
    CLASSES,
    NORMALS,
    OFFSETS,
    PIXEL_TASKS,
    WEIGHTED,
    LinearPixels,
    pixel_split,
)
from tests.unit.tasks.problems import measured

pytestmark = pytest.mark.usefixtures("float64")

TRIVIAL = [2.0, 0.7, 1.0, 0.6]


def problem(gaps: bool) -> tuple[list[Task], Split]:
    """Return a task of every kind, numbers in units of their own, and a split."""
    sizes = {"regression": 2, "regression_l1": 1, "classification": 4, "multilabel": 3}
    units = {"regression": {"scale": 3.0, "offset": 1.0}, "regression_l1": {"scale": 0.5}}
    tasks = [Task(kind, kind, size=sizes[kind], **units.get(kind, {})) for kind in KINDS]
    split = make_split(tasks)
    prepared = prepare(Data.of(tasks, train=with_gaps(split) if gaps else split))
    return prepared.tasks, prepared.splits["train"]


def log_variance_and_output(
    likelihood: Likelihood, task: Task, outputs: dict[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Return a task's log-variance, and its output before any temperature."""
    if isinstance(likelihood, Homoscedastic):
        s = likelihood.log_variance[KINDS.index(task.name)].detach()
        return s, outputs[task.name]
    s = outputs[log_variance_key(task.name)]
    return s, outputs[task.name] if task.kind.startswith("regression") else outputs[
        task.name
    ] * s.exp()


def model_with_varied_noise(tasks: list[Task]) -> torch.nn.Module:
    """Return a model whose predicted noise varies between rows and batches."""
    model = predicting_noise(tasks, TRIVIAL)
    torch.manual_seed(5)
    for task, head in zip(tasks, model.model.heads, strict=True):
        torch.nn.init.normal_(head.weight[task.size :])
    return model


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("name", ["homoscedastic", "heteroscedastic"])
def test_nll_is_that_of_torch_distributions_over_the_split(name: str, gaps: bool) -> None:
    """Breaks if a split's nll is not one number of all its rows, or counts a missing label."""
    tasks, split = problem(gaps)
    likelihood = (
        Homoscedastic(tasks, init=0.4)
        if name == "homoscedastic"
        else Heteroscedastic(tasks, beta=0.5)
    )
    model = make_mlp(tasks) if name == "homoscedastic" else model_with_varied_noise(tasks)
    outputs = predict_split(model, split, ROWS)
    evaluation = evaluate_split(model, tasks, split, trivial_losses(tasks, split), 7, likelihood)
    for task in tasks:
        s, output = log_variance_and_output(likelihood, task, outputs)
        expected = nll_by_hand(task, output, split.targets[task.name], s)
        assert evaluation.noise[task.name]["nll"] == pytest.approx(expected.item(), rel=1e-12)
        assert "nll" not in evaluation.values[task.name], (
            "metrics that exist for every likelihood stand apart"
        )


def test_predicted_sigmas_are_averaged_in_the_units_of_the_target() -> None:
    """Breaks if sigma is averaged as a log-variance, in training units, or over one batch."""
    tasks, split = problem(gaps=True)
    likelihood, model = Heteroscedastic(tasks), model_with_varied_noise(tasks)
    outputs = predict_split(model, split, ROWS)
    noise = evaluate_split(model, tasks, split, [None] * 4, 7, likelihood).noise
    alone = sigma_statistics(ForwardPass(model, likelihood), split, 7)
    for task in tasks:
        s = outputs[log_variance_key(task.name)].numpy()
        unit = {"regression": 3.0, "regression_l1": 0.5}.get(task.name, 1.0)
        sigma = unit * np.exp(s if task.name == "regression_l1" else s / 2)
        assert sigma.std() > 1e-2
        expected = {"sigma": sigma.mean()} | {
            f"sigma_q{q:02}": np.quantile(sigma, q / 100) for q in (5, 50, 95)
        }
        for name, value in expected.items():
            assert noise[task.name][name] == pytest.approx(value, rel=1e-12), name
            assert alone[task.name][name] == pytest.approx(value, rel=1e-12), name
        assert set(alone[task.name]) == set(expected)


def test_losses_and_metrics_are_those_of_the_calibrated_answers() -> None:
    """Breaks if the calibration error of a learned temperature is that of the logits without it."""
    tasks, split = problem(gaps=False)
    model = make_mlp(tasks)
    likelihood = Homoscedastic(
        tasks, init={"regression": 0.0, "classification": -3.0, "multilabel": 2.0}
    )
    evaluation = evaluate_split(model, tasks, split, trivial_losses(tasks, split), 7, likelihood)
    plain = evaluate_split(model, tasks, split, trivial_losses(tasks, split), 7)
    outputs = predict_split(model, split, ROWS)
    sharper = {
        "classification": outputs["classification"] * math.exp(3.0),
        "multilabel": outputs["multilabel"] / math.exp(2.0),
    }
    for task in tasks:
        answers = sharper.get(task.name, outputs[task.name])
        loss = task.loss({task.name: answers}, split.targets).item()
        assert evaluation.values[task.name]["loss"] == pytest.approx(loss, rel=1e-12)
        baseline = trivial_losses([task], split)[0]
        assert evaluation.values[task.name]["relative_loss"] == pytest.approx(
            loss / baseline, rel=1e-12
        )
        for name, value in task.measure(answers, split.targets[task.name]).items():
            assert_near(torch.tensor(evaluation.values[task.name][name]), value, 1e-12)
        moved = evaluation.values[task.name]["loss"] != pytest.approx(
            plain.values[task.name]["loss"], abs=1e-6
        )
        assert moved == (task.name in sharper)
    assert evaluation.values["classification"]["ece"] != pytest.approx(
        plain.values["classification"]["ece"], abs=1e-3
    )
    assert (
        evaluation.values["classification"]["accuracy"]
        == plain.values["classification"]["accuracy"]
    )


def test_without_a_noise_scale_an_evaluation_has_no_noise() -> None:
    """Breaks if the standard likelihood, or an evaluation without one, reports an nll."""
    tasks, split = problem(gaps=False)
    model = make_mlp(tasks)
    for likelihood in (None, Standard(tasks)):
        evaluation = evaluate_split(model, tasks, split, [None] * 4, 100, likelihood)
        assert evaluation.noise == {task.name: {} for task in tasks}


def test_a_loss_term_has_an_nll_column_that_is_its_loss() -> None:
    """Breaks if a task without a likelihood stops the evaluation of the others."""
    tasks, split = problem(gaps=False)
    term = Task(
        "t", "term", loss_term=lambda outputs, targets: outputs["regression"].square().mean()
    )
    likelihood = Homoscedastic([*tasks, term])
    model = make_mlp(tasks)
    evaluation = evaluate_split(model, [*tasks, term], split, [None] * 5, 100, likelihood)
    expected = predict_split(model, split, ROWS)["regression"].square().mean().item()
    assert evaluation.noise["t"] == {"nll": pytest.approx(expected)}
    assert evaluation.values["t"] == {"loss": pytest.approx(expected)}


@pytest.mark.parametrize("rows", [1, 5])
def test_a_loss_term_is_computed_on_all_rows_at_once(rows: int) -> None:
    """Breaks if a loss term that is no mean over rows is averaged over batches."""
    tasks, split = problem(gaps=False)
    term = Task("t", "term", loss_term=lambda outputs, targets: outputs["regression"].max())
    model = make_mlp(tasks)
    evaluation = evaluate_split(model, [*tasks, term], split, rows=rows)
    expected = predict_split(model, split)["regression"].max().item()
    assert evaluation.values["t"]["loss"] == pytest.approx(expected, rel=1e-12)


def test_the_relative_loss_is_the_mean_over_tasks_with_a_trivial_predictor() -> None:
    """Breaks if the monitor mixes losses of different units."""
    row = {"loss": 4.0, "relative_loss": 0.5}
    assert Evaluation({"a": row, "b": {"loss": 100.0}}).relative_loss == 0.5
    assert Evaluation({"a": {"loss": 4.0}, "b": {"loss": 2.0}}).relative_loss == 3.0


# Answers at every pixel


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_an_evaluation_in_batches_is_that_of_all_rows_at_once(rows: int) -> None:
    """Breaks if losses of batches are averaged without their number of labels or class weights."""
    tasks = [*PIXEL_TASKS, WEIGHTED]
    split, model = pixel_split(tasks), LinearPixels(tasks)
    at_once = evaluate_split(model, tasks, split).values
    model.train()
    model.most_rows = 0
    values = evaluate_split(model, tasks, split, [2.0] * len(tasks), rows)
    assert model.training
    assert model.most_rows == min(rows, 7)
    for task in tasks:
        expected = {**at_once[task.name], "relative_loss": at_once[task.name]["loss"] / 2}
        outputs = model.eval()(split.inputs)
        for name, value in task.measure(outputs[task.name], split.targets[task.name]).items():
            assert expected[name] == pytest.approx(value.item(), rel=1e-9)
        assert expected["loss"] == pytest.approx(task.loss(outputs, split.targets).item(), rel=1e-9)
        assert values.values[task.name] == pytest.approx(expected, rel=1e-9), task.name


@pytest.mark.parametrize("rows", [1, 3, 100])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_processes_share_out_the_rows_of_an_evaluation(rows: int, count: int) -> None:
    """Breaks if a row is measured twice or by nobody."""
    inputs = torch.arange(10.0).unsqueeze(1)
    split = Split(inputs, {"y": inputs})
    items = ItemSplit([(row, {"y": row}) for row in inputs], "val", [Task("y", size=1)])
    for data in (split, items):
        measured_rows: list[float] = []
        for number in range(count):
            batches = list(batches_of_part(data, rows, Part(number, count)))
            assert all(0 < len(batch) <= rows for batch in batches)
            measured_rows += [row for batch in batches for row in batch.inputs.flatten().tolist()]
        assert sorted(measured_rows) == inputs.flatten().tolist()


def test_an_evaluation_with_loss_terms_is_not_shared_out() -> None:
    """Breaks if a function of all rows is measured on a part of them."""
    ranks, plain = Ranks(0, 2), Task("y", size=1)
    term = Task("t", loss_term=lambda outputs, targets: outputs["y"].mean())
    assert sharing_ranks([plain], ranks) is ranks
    assert sharing_ranks([plain, term], ranks) is None
    assert sharing_ranks([plain], None) is None


def test_a_split_without_missing_labels_is_the_same_in_batches() -> None:
    """Breaks if batches are averaged wrongly on the faster path of fully labelled tasks."""
    tasks = [
        Task(t.name, t.kind, size=t.size, offset=t.offset, scale=t.scale, metrics=t.metrics)
        for t in PIXEL_TASKS
    ]
    split, model = pixel_split(tasks, gap=0.0, blank=0), LinearPixels(tasks)
    at_once, values = (
        evaluate_split(model, tasks, split),
        evaluate_split(model, tasks, split, rows=3),
    )
    for name, row in at_once.values.items():
        assert values.values[name] == pytest.approx(row, rel=1e-9)


def test_a_normal_that_is_known_in_part_is_unknown_in_batches_too() -> None:
    """Breaks if a pixel with one missing channel counts in the mean over batches."""
    split, model = pixel_split([NORMALS], gap=0.0, blank=0), LinearPixels([NORMALS])
    split.targets["n"][0, 0] = torch.nan  # an image that knows two of three channels
    outputs = model.eval()(split.inputs)
    values = evaluate_split(model, [NORMALS], split, rows=1).values["n"]
    assert values["loss"] == pytest.approx(NORMALS.loss(outputs, split.targets).item(), rel=1e-9)
    assert values["angle_mean"] == pytest.approx(
        measured(NORMALS, outputs["n"], split.targets["n"])["angle_mean"], rel=1e-9
    )


def test_a_replaced_loss_is_that_of_all_rows() -> None:
    """Breaks if a replaced loss that is no mean over pixels is averaged as if it were one."""

    def soft_dice(outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
        true = nn.functional.one_hot(targets["s"].clamp(min=0), CLASSES).movedim(-1, 1)
        probabilities = outputs["s"].softmax(1)
        return 1 - 2 * (true * probabilities).sum() / (true + probabilities).sum()

    task = Task(
        "s",
        "classification",
        size=CLASSES,
        metrics=("miou", "pixel_accuracy"),
        missing=True,
        loss_term=soft_dice,
    )
    split, model = pixel_split([task]), LinearPixels([task])
    at_once = soft_dice(model.eval()(split.inputs), split.targets).item()
    assert evaluate_split(model, [task], split, rows=2).values["s"]["loss"] == pytest.approx(
        at_once, rel=1e-9
    )


def test_a_split_without_any_label_has_no_loss_rather_than_a_broken_one() -> None:
    """Breaks if ``+debug=true`` reports divergence of a task without labels in the first rows."""
    split, model = pixel_split([OFFSETS], blank=6), LinearPixels([OFFSETS])
    values = evaluate_split(model, [OFFSETS], split.rows(slice(0, 6)), rows=2).values["o"]
    assert values["loss"] == 0.0
    assert math.isnan(values["instance_error"])


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make and that are still alive."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and follow the memory of its results until they are gone."""
        results = func(*args, **(kwargs or {}))
        for result in results if isinstance(results, tuple | list) else [results]:
            if isinstance(result, Tensor) and result._base is None:
                size = result.numel() * result.element_size()
                self._add(size)
                weakref.finalize(result, self._add, -size)
        return results

    def _add(self, size: int) -> None:
        self.now += size
        self.most = max(self.most, self.now)


class DrawnRows(Split):
    """Rows that are drawn when they are asked for, so that only the evaluation takes memory."""

    def __init__(self, tasks: list[Task], rows: int) -> None:
        first = make_split(tasks)
        super().__init__(first.inputs, first.targets)
        self.count = rows

    def batches(self, size: int) -> Iterator[Split]:
        """Yield the first rows again and again."""
        for start in range(0, self.count, size):
            index = torch.arange(start, min(start + size, self.count)) % len(self)
            yield self.rows(index)


def most_bytes(metrics: Mapping[str, Sequence[str]], rows: int) -> int:
    """Return the most memory that the tensors of an evaluation take at once."""
    tasks = [Task(kind, kind, size=1 if "regression" in kind else 3) for kind in KINDS]
    tasks = [replace(task, metrics=tuple(metrics.get(task.name, ()))) for task in tasks]
    forward = ForwardPass(make_mlp(tasks), Standard(tasks))
    with LiveBytes() as memory:
        evaluate(forward, tasks, DrawnRows(tasks, rows), [None] * len(tasks), batch_rows=2500)
    return memory.most


def test_the_memory_of_an_evaluation_does_not_grow_with_the_rows() -> None:
    """Breaks if an evaluation of a million rows keeps anything of them where sums would do."""
    assert most_bytes({}, 250_000) == most_bytes({}, 10_000)


def test_a_metric_of_all_rows_keeps_a_score_and_a_label_of_each() -> None:
    """Breaks if such a metric keeps the inputs or the other outputs, too."""
    few, many = (most_bytes({"classification": ["auc"]}, rows) for rows in (10_000, 110_000))
    # Three columns of scores and three of labels in float64, joined, and sorted column by column.
    assert 100_000 * 6 * 8 <= many - few <= 4 * 100_000 * 6 * 8
