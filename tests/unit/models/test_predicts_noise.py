"""A model that predicts its noise: it starts as the plain model, and refuses what cannot fit."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from mtl_runner.errors import ModelError
from mtl_runner.experiment.find_parameters import find_parameters
from mtl_runner.experiment.model import model_from_shape
from mtl_runner.likelihood import Heteroscedastic
from mtl_runner.models import PredictsNoise, Unshared
from mtl_runner.models.predicts_noise import with_noise_outputs
from mtl_runner.runs.runner import Request, run
from mtl_runner.tasks.activity import Active
from mtl_runner.tasks.task import Task, log_variance_key
from tests.support.builders import (
    INPUTS,
    ROWS,
    SIZES,
    Split,
    assert_near,
    assert_same_bits,
    make_split,
    make_tasks,
)
from tests.support.likelihoods import learner_with
from tests.support.whole_runs import everything_config

pytestmark = pytest.mark.usefixtures("float64")

FOUR = {"a": "regression", "b": "classification", "c": "regression_l1", "d": "multilabel"}
TRIVIAL = [4.0, 1.2, 0.5, 0.7]


class Heads(nn.Module):
    """A user's model with a normalised trunk and a head with a hidden layer per task."""

    def __init__(self, tasks: Sequence[Task], input_shape: Sequence[int], width: int = 6) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(*input_shape, width), nn.BatchNorm1d(width), nn.Tanh())
        self.heads = nn.ModuleDict(
            {
                t.name: nn.Sequential(nn.Linear(width, 5), nn.Tanh(), nn.Linear(5, t.size))
                for t in tasks
            }
        )

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        features = self.trunk(inputs)
        return {name: head(features) for name, head in self.heads.items()}


class OneLayer(nn.Module):
    """A user's model whose last layer serves all tasks together, split by their sizes."""

    def __init__(self, tasks: Sequence[Task], input_shape: Sequence[int]) -> None:
        super().__init__()
        self.sizes = {task.name: task.size for task in tasks}
        self.last_layer = nn.Linear(*input_shape, sum(self.sizes.values()))

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return dict(
            zip(
                self.sizes,
                self.last_layer(inputs).split(list(self.sizes.values()), dim=1),
                strict=True,
            )
        )


class Deaf(nn.Module):
    """A user's model whose outputs do not follow the size of the tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(INPUTS, 2)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return {"a": self.layer(inputs)}


class Pixels(nn.Module):
    """A user's model with a class per pixel."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.layer = nn.Conv2d(2, tasks[0].size, 3, padding=1)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return {"a": self.layer(inputs)}


def node(name: str, **options: Any) -> dict[str, Any]:
    """Return the config node of one of our models, or of one of this file."""
    module = (
        "mtl_runner.models"
        if name in ("MLP", "SeparateMLPs")
        else "tests.unit.models.test_predicts_noise"
    )
    return {"_target_": f"{module}.{name}", **options}


def both(
    model: dict[str, Any], tasks: Sequence[Task], share: bool = True, shape: Any = (INPUTS,)
) -> tuple[nn.Module, nn.Module]:
    """Return the plain model and the one that predicts its noise, as runs of one seed make them."""
    torch.manual_seed(3)
    plain = model_from_shape(model, tasks, shape, share=share)
    torch.manual_seed(3)
    return plain, model_from_shape(
        model, tasks, shape, share=share, predicts_noise=True, trivial=TRIVIAL[: len(tasks)]
    )


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("model", ["MLP", "SeparateMLPs", "Heads"])
def test_the_answers_start_as_the_plain_models(model: str, share: bool) -> None:
    """Breaks if predicting noise changes the initial weights that the seed gives."""
    tasks = make_tasks(**FOUR)
    inputs = make_split(tasks).inputs
    plain, noisy = both(node(model), tasks, share)
    for mode in (True, False):
        outputs, expected = noisy.train(mode)(inputs), plain.train(mode)(inputs)
        assert_near(
            {name: outputs[name] for name in FOUR}, {name: expected[name] for name in FOUR}, 1e-14
        )
    start = {"a": math.log(4.0), "b": 0.0, "c": math.log(0.5), "d": 0.0}
    for name, s in start.items():
        width = SIZES[FOUR[name]] if FOUR[name].startswith("regression") else 1
        assert_near(outputs[log_variance_key(name)], torch.full((ROWS, width), s), 1e-14)
    assert set(outputs) == {*FOUR, *(log_variance_key(name) for name in FOUR)}


def test_a_class_per_pixel_starts_as_the_plain_models() -> None:
    """Breaks if a convolution's further channel is not the last one."""
    tasks = [Task("a", "classification", size=4)]
    plain, noisy = both(node("Pixels"), tasks)
    inputs = torch.randn(3, 2, 5, 4)
    outputs = noisy(inputs)
    assert_near(outputs["a"], plain(inputs)["a"], 1e-14)
    assert_near(outputs[log_variance_key("a")], torch.zeros(3, 1, 5, 4), 0)
    assert next(iter(noisy.parameters())).shape[0] == 5, "four logits and a temperature"


def test_a_last_layer_that_serves_all_tasks_starts_as_the_plain_models() -> None:
    """Breaks if a layer that is split by the tasks' sizes gives one task another's noise."""
    tasks = make_tasks(a="regression", c="regression_l1")
    inputs = make_split(tasks).inputs
    plain, noisy = both(node("OneLayer"), tasks)
    outputs, expected = noisy(inputs), plain(inputs)
    assert_near(
        {name: outputs[name] for name in "ac"}, {name: expected[name] for name in "ac"}, 1e-14
    )


@pytest.mark.parametrize("share", [True, False])
def test_the_noise_depends_on_the_inputs_after_training(share: bool) -> None:
    """Breaks if no gradient moves the noise outputs, or another task's copy answers for them."""
    tasks = make_tasks(**FOUR)
    split = make_split(tasks)
    _, noisy = both(node("MLP", hidden=[8]), tasks, share)
    learner = learner_with(Heteroscedastic(tasks), split, model=noisy)
    for _ in range(30):
        learner.step(split, Active.all(4))
    outputs = noisy(split.inputs)
    for name in FOUR:
        assert outputs[log_variance_key(name)].std() > 1e-3, name


def test_every_parameter_of_a_model_that_predicts_noise_is_found() -> None:
    """Breaks if the further outputs have an owner of their own, or none."""
    tasks = make_tasks(**FOUR)
    split = make_split(tasks)
    _, noisy = both(node("MLP", hidden=[8]), tasks)
    parameters = find_parameters(noisy, Heteroscedastic(tasks), split)
    assert len(parameters.tensors) == len(list(noisy.parameters()))
    assert len(parameters.shared) == 2
    assert [sorted(owner) for owner in parameters.owners if len(owner) == 1] == [
        [t] for t in range(4) for _ in range(2)
    ]


def test_the_noise_starts_where_a_homoscedastic_run_starts() -> None:
    """Breaks if a target in other units begins with a noise of 1."""
    tasks = make_tasks(a="regression")
    inputs = make_split(tasks).inputs
    for trivial, start in ((None, 0.0), ([None], 0.0), ([100.0], math.log(100.0))):
        model = PredictsNoise(Deaf(), Deaf(), [Task("a", size=1)], trivial)
        assert_near(
            model(inputs)[log_variance_key("a")].mean(),
            model.model(inputs)["a"][:, 1].mean() + start,
            1e-12,
        )


def test_logits_are_divided_by_the_temperature_predicted_for_their_sample() -> None:
    """Breaks if the model's answers are not what its likelihood judges.

    Numbers stay as they are, logits are divided by exp(s).
    """
    tasks = make_tasks(**FOUR)
    inputs = make_split(tasks).inputs
    _, noisy = both(node("MLP", hidden=[8]), tasks)
    torch.manual_seed(5)
    for head in noisy.model.heads:
        torch.nn.init.normal_(head.weight)
    raw, outputs = noisy.model(inputs), noisy(inputs)
    for (name, kind), start in zip(
        FOUR.items(), (math.log(4.0), 0.0, math.log(0.5), 0.0), strict=True
    ):
        answers, log_variances = raw[name][:, : SIZES[kind]], raw[name][:, SIZES[kind] :]
        assert_near(outputs[log_variance_key(name)], start + log_variances, 1e-14)
        assert_near(
            outputs[name],
            answers if kind.startswith("regression") else answers / log_variances.exp(),
            1e-12,
        )


def test_copies_answer_for_their_own_task_alone() -> None:
    """Breaks if share=false mixes the answers or the noise of the copies."""
    tasks = make_tasks(**FOUR)
    inputs = make_split(tasks).inputs
    _, noisy = both(node("MLP", hidden=[8]), tasks, share=False)
    assert isinstance(noisy, Unshared)
    before = noisy(inputs)
    with torch.no_grad():
        for parameter in noisy.copies[1].parameters():
            parameter.add_(1.0)
    after = noisy(inputs)
    for name in FOUR:
        for key in (name, log_variance_key(name)):
            assert torch.equal(before[key], after[key]) == (name != "b"), key


@pytest.mark.parametrize("names", [("speed/left", "speed"), ("speed", "speed/left")])
def test_copies_are_not_confused_by_a_slash_in_a_name(names: tuple[str, str]) -> None:
    """Breaks if the copy of `speed` also answers for the task `speed/left`."""
    tasks = [Task(name, size=1) for name in names]
    inputs = make_split(tasks).inputs
    plain, _ = both(node("MLP", hidden=[8]), tasks, share=False)
    with torch.no_grad():
        for parameter in plain.copies[names.index("speed")].parameters():
            parameter.add_(1.0)
    left = plain.copies[names.index("speed/left")]
    assert_same_bits(plain(inputs)["speed/left"], left(inputs)["speed/left"])


# What does not fit


def test_a_model_that_ignores_the_size_of_the_tasks_is_named() -> None:
    """Breaks if a model with fixed outputs ends in an error of torch.split."""
    tasks = [Task("a", size=2)]
    words = (
        "likelihood=heteroscedastic needs 4 outputs for task 'a' (2 answers, 2 log-variances), "
        f"but the model returned shape ({ROWS}, 2); size its outputs by task.size."
    )
    with pytest.raises(ModelError, match=f"^{re.escape(words)}$"):
        PredictsNoise(Deaf(), Deaf(), tasks)(make_split(tasks).inputs)
    classes = [Task("a", "classification", size=2)]
    with pytest.raises(
        ModelError, match=r"needs 3 outputs for task 'a' \(2 answers, 1 log-variances\)"
    ):
        PredictsNoise(Deaf(), Deaf(), classes)(make_split(classes).inputs)


class FixedSize(nn.Module):
    """A user's model that knows its task better than the run does."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.name = tasks[0].name
        self.layer = nn.Linear(INPUTS, 2)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return {self.name: self.layer(inputs)}


def test_a_run_with_a_model_of_fixed_size_ends_in_one_sentence(tmp_path: Path) -> None:
    """Breaks if `likelihood=heteroscedastic` with a user's model ends in a traceback."""
    for likelihood, words in (
        ("standard", ""),
        (
            "heteroscedastic",
            "likelihood=heteroscedastic needs 4 outputs for task 'regression' (2 answers, 2 log-variances), ",
        ),
    ):
        config = everything_config(
            f"likelihood={likelihood}", "trainer.epochs=1", tasks=["regression"]
        )
        config.model = OmegaConf.create(
            {"_target_": "tests.unit.models.test_predicts_noise.FixedSize"}
        )
        outcome = run(Request(config, tmp_path / likelihood))
        assert outcome.error.startswith(words)
        assert bool(outcome.error) == bool(words)
        assert outcome.exit_code == (1 if words else 0)


def test_an_output_that_is_not_there_is_named() -> None:
    """Breaks if a task without an output is a KeyError."""
    tasks = [Task("b", size=2)]
    split = Split(torch.zeros(ROWS, INPUTS), {"b": torch.zeros(ROWS, 2)})
    with pytest.raises(ModelError, match="The model returned no output for task 'b'"):
        find_parameters(PredictsNoise(Deaf(), Deaf(), tasks), Heteroscedastic(tasks), split)


def test_the_tasks_are_widened_by_what_their_likelihood_needs() -> None:
    """Breaks if a regression's outputs share a noise, or a classification gets one per class."""
    tasks = [
        *make_tasks(**FOUR),
        Task("e", "term", loss_term=lambda outputs, targets: outputs["a"].mean()),
    ]
    assert [with_noise_outputs(task).size for task in tasks] == [4, 5, 2, 4, 0]
    assert [task.size for task in tasks] == [2, 4, 1, 3, 0]


def test_an_image_to_image_regression_is_refused_in_words() -> None:
    """Breaks if a map of numbers broadcasts silently, without a word on the outputs it wants."""
    task = Task("a", size=20)
    model = PredictsNoise(nn.ModuleDict(), nn.ModuleDict(), [task])
    model.model.forward = lambda inputs: {"a": inputs}  # type: ignore[method-assign]
    with pytest.raises(
        ModelError, match=r"needs 40 outputs for task 'a' \(20 answers, 20 log-variances\)"
    ):
        model(torch.zeros(3, 2, 5, 4))
