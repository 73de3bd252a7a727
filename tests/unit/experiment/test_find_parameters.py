"""The parameters that belong to each task, read off the autograd graph of the losses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mtl_runner.data.dataset import Split
from mtl_runner.errors import ConfigError, ModelError
from mtl_runner.experiment.find_parameters import find_parameters
from mtl_runner.gradients.parameters import Parameters
from mtl_runner.likelihood import Standard
from mtl_runner.models import MLP, SeparateMLPs, Unshared
from mtl_runner.tasks.kinds import MISSING_CLASS
from mtl_runner.tasks.task import Task
from mtl_runner.update import Jacobian, Joint, PerTask, Update
from tests.support.builders import (
    INPUTS,
    ROWS,
    assert_same_bits,
    flat_parameters,
    make_learner,
    make_mlp,
    make_split,
    make_tasks,
    make_terms,
    train,
)


def owners_by_name(
    model: nn.Module, tasks: list[Task], split: Split | None = None
) -> dict[str, set[str]]:
    """Return the names of the tasks that own each parameter, by its name."""
    parameters = find_parameters(model, Standard(tasks), split or make_split(tasks))
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        names[id(p)]: {tasks[t].name for t in owner}
        for p, owner in zip(parameters.tensors, parameters.owners, strict=True)
    }


class Heads(nn.Module):
    """A model from a function of its layers and inputs; a test shows the whole forward pass."""

    def __init__(
        self, forward: Callable[[nn.ModuleDict, Tensor], object], **layers: nn.Module
    ) -> None:
        super().__init__()
        self.layers, self.function = nn.ModuleDict(layers), forward

    def forward(self, inputs: Tensor) -> object:
        return self.function(self.layers, inputs)


def two_tasks() -> list[Task]:
    """Return a regression and a classification."""
    return make_tasks(a="regression", b="classification")


def heads(**extra: nn.Module) -> dict[str, nn.Module]:
    """Return a trunk of 5 features and a head for each of the two tasks."""
    return {"trunk": nn.Linear(INPUTS, 5), "a": nn.Linear(5, 2), "b": nn.Linear(5, 4), **extra}


# Who owns what


def test_a_trunk_is_shared_and_a_head_is_private() -> None:
    """Breaks if per-task optimizers and idle tasks touch the wrong parameters."""
    owners = owners_by_name(make_mlp(two_tasks()), two_tasks())
    assert owners == {
        "trunk.0.weight": {"a", "b"},
        "trunk.0.bias": {"a", "b"},
        "heads.0.weight": {"a"},
        "heads.0.bias": {"a"},
        "heads.1.weight": {"b"},
        "heads.1.bias": {"b"},
    }


def test_names_of_modules_do_not_matter() -> None:
    """Breaks if a parameter is taken for shared or private because of what it is called."""

    def forward(layers: nn.ModuleDict, x: Tensor) -> dict[str, Tensor]:
        return {"a": layers["shared_trunk"](x), "b": layers["head_of_a"](x)}

    model = Heads(forward, shared_trunk=nn.Linear(INPUTS, 2), head_of_a=nn.Linear(INPUTS, 4))
    owners = owners_by_name(model, two_tasks())
    assert owners["layers.shared_trunk.weight"] == {"a"}
    assert owners["layers.head_of_a.weight"] == {"b"}


def test_a_layer_shared_by_some_of_the_tasks_is_owned_by_those() -> None:
    """Breaks if a middle layer counts as shared by all, and an idle task's layer is trained."""
    tasks = make_tasks(a="regression", b="regression", c="regression")

    def forward(layers: nn.ModuleDict, x: Tensor) -> dict[str, Tensor]:
        low = layers["low"](x)
        middle = layers["middle"](low)
        return {"a": layers["a"](middle), "b": layers["b"](middle), "c": layers["c"](low)}

    layers = {name: nn.Linear(INPUTS, INPUTS) for name in ("low", "middle")} | {
        n: nn.Linear(INPUTS, 2) for n in "abc"
    }
    model = Heads(forward, **layers)
    owners = owners_by_name(model, tasks)
    assert owners["layers.low.weight"] == {"a", "b", "c"}
    assert owners["layers.middle.weight"] == {"a", "b"}
    parameters = find_parameters(model, Standard(tasks), make_split(tasks))
    assert [id(p) for p in parameters.shared] == [
        id(p) for n in ("low", "middle") for p in layers[n].parameters()
    ]
    assert [id(p) for p in parameters.idle(frozenset({2}))] == [
        id(p) for n in ("middle", "a", "b") for p in layers[n].parameters()
    ]
    assert {id(p) for p in parameters.reached_by(frozenset({0}))} == {
        id(p) for n in ("low", "middle", "a") for p in layers[n].parameters()
    }


def test_a_head_that_feeds_another_head_is_shared() -> None:
    """Breaks if a cascade of heads is taken for independent heads."""

    def forward(layers: nn.ModuleDict, x: Tensor) -> dict[str, Tensor]:
        first = layers["a"](x)
        return {"a": first, "b": layers["b"](first)}

    owners = owners_by_name(Heads(forward, a=nn.Linear(INPUTS, 2), b=nn.Linear(2, 4)), two_tasks())
    assert owners["layers.a.weight"] == {"a", "b"}
    assert owners["layers.b.weight"] == {"b"}


def test_a_tied_weight_belongs_to_both_tasks_and_is_listed_once() -> None:
    """Breaks if a weight that two heads share is handed to an optimizer twice."""
    tasks = make_tasks(a="regression", b="regression")
    head = nn.Linear(INPUTS, 2)
    model = Heads(lambda layers, x: {"a": layers["a"](x), "b": layers["b"](x)}, a=head, b=head)
    parameters = find_parameters(model, Standard(tasks), make_split(tasks))
    assert len(parameters.tensors) == 2
    assert parameters.owners == [frozenset({0, 1})] * 2


def test_separate_networks_share_nothing() -> None:
    """Breaks if tasks without common parameters are thought to compete."""
    parameters = find_parameters(
        make_mlp(two_tasks(), kind=SeparateMLPs), Standard(two_tasks()), make_split(two_tasks())
    )
    assert parameters.shared == []
    assert len(parameters.tensors) == 8


def test_a_loss_term_owns_what_its_outputs_come_from() -> None:
    """Breaks if a loss without a target of its own has no parameters, or not all of them."""
    tasks = [
        *two_tasks(),
        Task("agree", "term", loss_term=lambda o, _: (o["a"].mean() - o["b"].mean()).square()),
    ]
    owners = owners_by_name(make_mlp(tasks), tasks, make_split(two_tasks()))
    assert owners["heads.0.weight"] == {"a", "agree"}
    assert owners["heads.1.weight"] == {"b", "agree"}


def test_a_batch_without_labels_still_shows_what_a_task_owns() -> None:
    """Breaks if the answer depends on whether the first batch happens to hold labels."""
    tasks = [replace(task, missing=True) for task in two_tasks()]
    split = make_split(tasks)
    split.targets["b"] = torch.full((ROWS,), MISSING_CLASS)
    assert owners_by_name(make_mlp(tasks), tasks, split) == owners_by_name(
        make_mlp(tasks), two_tasks()
    )


def test_a_frozen_parameter_is_left_out() -> None:
    """Breaks if a pretrained and frozen layer is trained, or called unreached."""
    model = make_mlp(two_tasks())
    model.trunk[0].weight.requires_grad_(False)
    assert set(owners_by_name(model, two_tasks())) == {
        "trunk.0.bias",
        "heads.0.weight",
        "heads.0.bias",
        "heads.1.weight",
        "heads.1.bias",
    }


# Looking changes nothing


def test_looking_leaves_randomness_statistics_and_mode_as_they_were() -> None:
    """Breaks if a strategy's initial state depends on having been inspected."""
    tasks = two_tasks()

    def forward(layers: nn.ModuleDict, x: Tensor) -> dict[str, Tensor]:
        features = nn.functional.dropout(layers["norm"](layers["trunk"](x)), 0.5)
        return {"a": layers["a"](features), "b": layers["b"](features)}

    model = Heads(forward, **heads(norm=nn.BatchNorm1d(5)))
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    find_parameters(model, Standard(tasks), make_split(tasks))
    assert torch.equal(torch.get_rng_state(), random)
    assert model.training
    assert model.layers["norm"].training
    assert all(p.grad is None for p in model.parameters())
    assert_same_bits(dict(model.state_dict()), before)


# Unreached and hidden


def test_a_parameter_that_no_loss_reaches_is_named() -> None:
    """Breaks if a forgotten layer stays untrained without a word."""
    model = Heads(
        lambda layers, x: {n: layers[n](layers["trunk"](x)) for n in "ab"},
        **heads(forgotten=nn.Linear(5, 1, bias=False)),
    )
    with pytest.raises(
        ModelError,
        match=r"No task's loss reaches the model's parameter 'layers\.forgotten\.weight'",
    ):
        find_parameters(model, Standard(two_tasks()), make_split(two_tasks()))


def test_a_detached_encoder_is_named() -> None:
    """Breaks if an encoder that a detach() freezes stays untrained without a word."""
    model = Heads(
        lambda layers, x: {n: layers[n](layers["trunk"](x).detach()) for n in "ab"}, **heads()
    )
    with pytest.raises(ModelError, match=r"layers\.trunk\.weight"):
        find_parameters(model, Standard(two_tasks()), make_split(two_tasks()))


class PlainDict(nn.Module):
    """The classic mistake: decoders in a dict that PyTorch does not look into."""

    def __init__(self, container: type) -> None:
        super().__init__()
        self.trunk = nn.Linear(INPUTS, 5)
        decoders = {"a": nn.Linear(5, 2), "b": nn.Linear(5, 4)}
        self.decoders = decoders if container is dict else list(decoders.values())

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        features = self.trunk(inputs)
        decoders = self.decoders.values() if isinstance(self.decoders, dict) else self.decoders
        return {name: decoder(features) for name, decoder in zip("ab", decoders, strict=True)}


@pytest.mark.parametrize("container", [dict, list])
def test_decoders_in_a_plain_container_are_an_error(container: type) -> None:
    """Breaks if decoders that no optimizer owns keep their random weights for the whole run."""
    with pytest.raises(ModelError) as error:
        find_parameters(PlainDict(container), Standard(two_tasks()), make_split(two_tasks()))
    text = str(error.value)
    assert "Task 'a' uses a trainable tensor of shape" in text
    assert "not among the model's parameters" in text
    assert "nn.ModuleDict or nn.ModuleList, not in a plain dict or list" in text


def test_a_model_without_trainable_parameters_is_an_error() -> None:
    """Breaks if a run trains nothing and says nothing."""
    model = make_mlp(two_tasks()).requires_grad_(False)
    with pytest.raises(ModelError, match="no trainable parameter"):
        find_parameters(model, Standard(two_tasks()), make_split(two_tasks()))


# Outputs of the wrong form


@pytest.mark.parametrize(
    ("shape", "kind", "words"),
    [
        (
            (ROWS, 3),
            "regression",
            f"has shape ({ROWS}, 3), but its target of shape ({ROWS}, 2) needs ({ROWS}, 2)",
        ),
        (
            (ROWS,),
            "regression",
            f"has shape ({ROWS},), but its target of shape ({ROWS}, 2) needs ({ROWS}, 2)",
        ),
        (
            (ROWS, 5),
            "classification",
            f"has shape ({ROWS}, 5), but its target of shape ({ROWS},) needs ({ROWS}, 4)",
        ),
        (
            (1, 4),
            "classification",
            f"has shape (1, 4), but its target of shape ({ROWS},) needs ({ROWS}, 4)",
        ),
        (
            (ROWS, 1),
            "multilabel",
            f"has shape ({ROWS}, 1), but its target of shape ({ROWS}, 3) needs ({ROWS}, 3)",
        ),
    ],
)
def test_an_output_of_the_wrong_shape_is_reported_with_both_shapes(
    shape: tuple[int, ...], kind: str, words: str
) -> None:
    """Breaks if a wrong shape broadcasts into a wrong loss, or ends in PyTorch's own words."""
    tasks = make_tasks(a=kind)
    model = Heads(
        lambda layers, _: {"a": layers["scale"].weight.sum() * torch.ones(shape)},
        scale=nn.Linear(1, 1),
    )
    with pytest.raises(ModelError) as error:
        find_parameters(model, Standard(tasks), make_split(tasks))
    assert "Task 'a': the model's output" in str(error.value)
    assert words in str(error.value)


def test_a_map_of_classes_per_pixel_fits() -> None:
    """Breaks if segmentation outputs [N, classes, H, W] are refused."""
    task = Task("a", "classification", size=4)
    split = Split(torch.zeros(2, 1), {"a": torch.zeros(2, 5, 6, dtype=torch.long)})
    model = Heads(
        lambda layers, _: {"a": layers["scale"].weight.sum() * torch.ones(2, 4, 5, 6)},
        scale=nn.Linear(1, 1, bias=False),
    )
    assert len(find_parameters(model, Standard([task]), split).tensors) == 1


def test_a_missing_output_is_named() -> None:
    """Breaks if a typo in an output's key ends in a KeyError."""
    model = Heads(
        lambda layers, x: {
            "a": layers["a"](layers["trunk"](x)),
            "B": layers["b"](layers["trunk"](x)),
        },
        **heads(),
    )
    with pytest.raises(ModelError, match=r"no output for task 'b' \(it returned a, B\)"):
        find_parameters(model, Standard(two_tasks()), make_split(two_tasks()))


@pytest.mark.parametrize(("made", "name"), [((), "tuple"), ([], "list")])
def test_a_model_that_returns_no_mapping_is_told_what_to_return(made: object, name: str) -> None:
    """Breaks if the commonest first mistake with a model of a user ends in a traceback."""
    model = Heads(lambda layers, x: layers and x is not None and made, **heads())
    with pytest.raises(
        ModelError, match=rf"returned a {name}; its forward must return \{{task: tensor\}}"
    ):
        find_parameters(model, Standard(two_tasks()), make_split(two_tasks()))


# share: false


def unshared(tasks: list[Task]) -> tuple[Unshared, Parameters]:
    """Return a model with a copy per task, and its parameters."""
    model = Unshared(make_mlp(tasks), tasks)
    return model, find_parameters(model, Standard(tasks), make_split(tasks))


def test_copies_share_nothing_and_start_alike() -> None:
    """Breaks if copies share a parameter, or start from different weights."""
    model, parameters = unshared(two_tasks())
    assert parameters.shared == []
    assert_same_bits(dict(model.copies[0].state_dict()), dict(model.copies[1].state_dict()))
    assert_same_bits(dict(model.copies[0].state_dict()), dict(make_mlp(two_tasks()).state_dict()))


def test_the_heads_that_a_copy_does_not_use_are_frozen() -> None:
    """Breaks if unused heads are counted as parameters, decayed, or called unreached."""
    model, parameters = unshared(two_tasks())
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {
        f"copies.{index}.{part}.{kind}"
        for index in (0, 1)
        for part in ("trunk.0", f"heads.{index}")
        for kind in ("weight", "bias")
    }
    assert len(parameters.tensors) == len(trained)


def test_a_layer_that_the_user_froze_stays_frozen_in_every_copy() -> None:
    """Breaks if unsharing a model thaws its pretrained layers."""
    inner = make_mlp(two_tasks())
    inner.trunk[0].weight.requires_grad_(False)
    model = Unshared(inner, two_tasks())
    find_parameters(model, Standard(two_tasks()), make_split(two_tasks()))
    assert not any(copy.trunk[0].weight.requires_grad for copy in model.copies)


def test_a_loss_term_cannot_be_unshared() -> None:
    """Breaks if a loss over several outputs is trained with copies that have only one each."""
    tasks = [*two_tasks(), *make_terms(c=lambda p: p.sum())]
    with pytest.raises(
        ConfigError, match="share=false copies the model per task, but the loss term 'c' needs"
    ):
        Unshared(MLP(tasks, (INPUTS,)), tasks)


class Answers(nn.Module):
    """A model of one layer, whose outputs a function makes of the layer's."""

    def __init__(self, make: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.layer, self.make = nn.Linear(3, 1), make

    def forward(self, x: Tensor) -> object:
        """Return what the function makes."""
        return self.make(self.layer(x))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda y: {"a": None}, "Task 'a': the model's output is a NoneType; it must be a tensor of floating-point numbers."),
        (lambda y: {"a": y.long()}, "Task 'a': the model's output is a tensor of int64; it must be a tensor of floating-point numbers."),
        (
            lambda y: {"a": y.detach()},
            "The loss of task 'a' depends on no trainable parameter, so there is nothing to train for it; does the model or the loss detach its output?",
        ),
    ],
)  # fmt: skip
def test_an_output_that_cannot_be_trained_is_named(
    make: Callable[[Tensor], object], sentence: str
) -> None:
    """Breaks if such an output ends in an error of torch's."""
    batch = Split(torch.zeros(2, 3), {"a": torch.zeros(2, 1)})
    with pytest.raises(ModelError) as error:
        find_parameters(Answers(make), Standard([Task("a", size=1)]), batch)
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("inputs", "start"),
    [
        (torch.zeros(2, 3, dtype=torch.long), "The model cannot take inputs of int64 ("),
        (torch.zeros(2), "The model cannot take inputs of one number per sample without a dimension"),
        (torch.zeros(2, 5), "The model fails on inputs of shape [5] per sample: mat1 and mat2 shapes cannot be multiplied (2x5 and 3x1) (raised in test_find_parameters.py, line "),
    ],
)  # fmt: skip
def test_inputs_that_the_model_cannot_take_are_named(inputs: Tensor, start: str) -> None:
    """Breaks if whole numbers in a dataset end in an error about ``mat1``."""
    batch = Split(inputs, {"a": torch.zeros(2, 1)})
    model = Answers(lambda y: {"a": y})
    with pytest.raises(ModelError) as error:
        find_parameters(model, Standard([Task("a", size=1)]), batch)
    assert str(error.value).startswith(start)


class Checkpointed(nn.Module):
    """Two layers, of which the second is run again in the backward pass, and two heads."""

    def __init__(self, reentrant: bool | None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.reentrant = reentrant
        self.first, self.second = nn.Linear(INPUTS, 6), nn.Linear(6, 6)
        self.a, self.b = nn.Linear(6, 2), nn.Linear(6, 2)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        features = self.first(inputs).tanh()
        if self.reentrant is None:
            features = self.second(features)
        else:
            features = checkpoint(self.second, features, use_reentrant=self.reentrant)
        return {"a": self.a(features.tanh()), "b": self.b(features.tanh())}


def test_a_checkpoint_that_hides_its_parameters_is_told_the_way_out() -> None:
    """Breaks if a user of torch.utils.checkpoint is told to use a parameter that is used."""
    tasks = make_tasks(a="regression", b="regression")
    split = make_split(tasks)
    assert len(find_parameters(Checkpointed(False), Standard(tasks), split).shared) == 4
    with pytest.raises(ModelError) as error:
        find_parameters(Checkpointed(True), Standard(tasks), split)
    assert str(error.value) == (
        "The model's parameter 'second.weight' is not in the graph of any loss: torch.utils.checkpoint with use_reentrant=True hides what it runs; give it use_reentrant=False."
    )


@pytest.mark.parametrize("update", [Joint, PerTask, Jacobian])
@pytest.mark.parametrize("parts", [1, 3])
def test_checkpoints_change_no_bit(update: type[Update], parts: int) -> None:
    """Breaks if several backward passes, or parts of a batch, do not go with checkpoints."""
    tasks = make_tasks(a="regression", b="regression")
    split = make_split(tasks)
    results = []
    for reentrant in (None, False):
        model = Checkpointed(reentrant)
        options = {"aggregator": "sum"} if update is Jacobian else {}
        learner = make_learner(tasks, split, model=model, update=update, **options)
        learner.part_rows = lambda rows: -(-rows // parts)
        train(learner, split, 3)
        results.append(flat_parameters(model))
    assert_same_bits(*results)
