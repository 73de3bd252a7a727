"""Joint training with an optimizer per part of the model (``update.groups``)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtl_runner.errors import ConfigError
from mtl_runner.gradients.parameters import Parameters
from mtl_runner.models import SeparateMLPs
from mtl_runner.schedule import RunLength
from mtl_runner.tasks.task import Task
from mtl_runner.update import Joint
from tests.support.builders import (
    SGD,
    Adam,
    assert_near,
    assert_same_bits,
    copy_state,
    flat_parameters,
    gradients_of,
    make_learner,
    make_mlp,
    make_split,
    make_tasks,
    train,
)
from tests.unit.update.learners import (
    KINDS_OF,
    PATTERNS,
    Optimizer,
    Pairs,
    learner_with,
    only,
    through_a_file,
)

pytestmark = pytest.mark.usefixtures("float64")

AdamW = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1)
Momentum = partial(SGD, momentum=0.9, weight_decay=0.1)
LENGTH = RunLength(epochs=8, steps_per_epoch=5)
Groups = Mapping[str, Mapping[str, Any] | None]


def parts_of(model: nn.Module) -> list[dict[str, Tensor]]:
    """Return copies of the shared parameters of a Pairs, and of each head's."""
    shared = {
        name: value for name, value in model.state_dict().items() if not name.startswith("heads")
    }
    return [copy_state(shared), *(copy_state(head.state_dict()) for head in model.heads)]


def three_tasks() -> list[Task]:
    """Return three tasks of different kinds."""
    return make_tasks(**KINDS_OF)


# What it equals


@pytest.mark.parametrize("optimizer", [Adam, AdamW, Momentum], ids=["Adam", "AdamW", "SGD"])
@pytest.mark.parametrize(
    "groups",
    [
        {"shared": {}, "a": {}, "b": {}, "c": {}},
        {"a": {"lr": 0.01}},
        {"shared": None, "b": {"start": 0, "gain": 1.0}, "c": {"lr": 0.01}},
    ],
    ids=["all", "one", "neutral settings"],
)
@pytest.mark.parametrize("clip", [None, 0.05])
def test_with_equal_settings_it_is_one_optimizer_to_the_last_bit(
    groups: Groups, optimizer: Optimizer, clip: float | None
) -> None:
    """Breaks if dealing parameters out to several optimizers changes anything by itself."""
    tasks = three_tasks()
    split = make_split(tasks)
    models = []
    for options in ({}, {"groups": groups}):
        models.append(Pairs(tasks))
        learner = learner_with(
            Joint, tasks, split, model=models[-1], optimizer=optimizer, clip=clip, **options
        )
        for active in PATTERNS * 2:
            learner.step(split, only(*active))
    assert_same_bits(models[1].state_dict(), models[0].state_dict())


def test_every_parameter_belongs_to_one_group() -> None:
    """Breaks if a parameter that only two of three tasks share gets no optimizer, or two."""
    tasks = three_tasks()
    model = Pairs(tasks)
    update = learner_with(Joint, tasks, make_split(tasks), model=model, groups={"a": {}}).update
    groups = [o.param_groups[0]["params"] for o in update.optimizers]
    shared = [*model.trunk.parameters(), *model.left.parameters(), *model.right.parameters()]
    expected = [shared, *(list(head.parameters()) for head in model.heads)]
    assert [set(map(id, group)) for group in groups] == [set(map(id, group)) for group in expected]


def test_a_task_may_be_called_shared() -> None:
    """Breaks if its private parameters are lost between the two meanings of the name."""
    tasks = make_tasks(shared="regression", b="regression")
    split = make_split(tasks)
    models = []
    for options in ({}, {"groups": {"b": {}}}):
        models.append(make_mlp(tasks))
        train(learner_with(Joint, tasks, split, model=models[-1], **options), split, 5)
    assert_same_bits(models[1].state_dict(), models[0].state_dict())


# What each setting does


@pytest.mark.parametrize("name", ["shared", "a", "b", "c"])
def test_a_learning_rate_is_that_of_its_part(name: str) -> None:
    """Breaks if `lr` reaches other parameters, or not all of its own."""
    tasks = three_tasks()
    split = make_split(tasks)
    model = Pairs(tasks)
    before, gradient = parts_of(model), gradients_of(model, tasks, split).sum(0)
    pieces = dict(
        zip(
            dict(model.named_parameters()),
            torch.split(gradient, [p.numel() for p in model.parameters()]),
            strict=True,
        )
    )
    train(
        learner_with(Joint, tasks, split, model=model, optimizer=SGD, groups={name: {"lr": 0.5}}),
        split,
        1,
    )
    for index, part in enumerate(("shared", "a", "b", "c")):
        for key, value in parts_of(model)[index].items():
            full = key if part == "shared" else f"heads.{index - 1}.{key}"
            moved = (before[index][key] - value).flatten()
            assert_near(moved, (0.5 if part == name else 0.01) * pieces[full], 1e-15)


def test_weight_decay_is_that_of_its_part() -> None:
    """Breaks if a part that asks for decay gets none, or gives it to the others."""
    tasks = three_tasks()
    split = make_split(tasks)
    models = []
    for groups in ({}, {"b": {"weight_decay": 0.5}}):
        models.append(Pairs(tasks))
        train(
            learner_with(
                Joint, tasks, split, model=models[-1], optimizer=partial(SGD, lr=0.1), groups=groups
            ),
            split,
            1,
        )
    plain, decayed = (parts_of(model) for model in models)
    assert_same_bits([decayed[i] for i in (0, 1, 3)], [plain[i] for i in (0, 1, 3)])
    start = parts_of(Pairs(tasks))[2]
    for key, value in decayed[2].items():
        assert_near(value, plain[2][key] - 0.1 * 0.5 * start[key], 1e-15)


def fake_factory(
    params: Any, target: str = "torch.optim.Adam", **changes: Any
) -> torch.optim.Optimizer:
    """Make an optimizer as the run's factory does with a class, without a config."""
    kind: type[torch.optim.Optimizer] = getattr(torch.optim, target.rsplit(".", 1)[1])
    return kind(params, **{"lr": 0.01, **changes})


def test_a_class_is_that_of_its_part() -> None:
    """Breaks if `_target_` of a group does not choose its optimizer."""
    tasks = three_tasks()
    split = make_split(tasks)
    groups = {"a": {"target": "torch.optim.SGD", "momentum": 0.9}}
    update = learner_with(Joint, tasks, split, optimizer=fake_factory, groups=groups).update
    assert [type(o) for o in update.optimizers] == [
        torch.optim.Adam,
        torch.optim.SGD,
        torch.optim.Adam,
        torch.optim.Adam,
    ]
    assert update.optimizers[1].defaults["momentum"] == 0.9


@pytest.mark.parametrize(("when", "start"), [(2, 10), ("10 steps", 10), ("25%", 10), ("1 step", 1)])
@pytest.mark.parametrize("name", ["shared", "b"])
def test_a_part_stands_still_until_its_start(name: str, when: Any, start: int) -> None:
    """Breaks if a part moves, decays or ages before its start, or waits longer."""
    tasks = three_tasks()
    split = make_split(tasks)
    model = Pairs(tasks)
    index = {"shared": 0, "b": 2}[name]
    before = parts_of(model)
    learner = learner_with(
        Joint,
        tasks,
        split,
        model=model,
        optimizer=AdamW,
        groups={name: {"start": when}},
        length=LENGTH,
    )
    train(learner, split, start)
    assert_same_bits(parts_of(model)[index], before[index])
    assert not learner.update.optimizers[index].state
    for other_part in {0, 1, 2, 3} - {index}:
        assert any(
            (value != before[other_part][key]).any()
            for key, value in parts_of(model)[other_part].items()
        )
    train(learner, split, 1)
    moved = [(v - before[index][k]).abs() for k, v in parts_of(model)[index].items()]
    assert max(m.max().item() for m in moved) > 0.009  # a first step of Adam, as long as ever
    decayed = 0.01 * 0.1 * max(v.abs().max().item() for v in before[index].values())
    assert max(m.max().item() for m in moved) <= 0.01 + decayed + 1e-9
    clocks = {s["step"].item() for s in learner.update.optimizers[index].state.values()}
    assert clocks == {1.0}


def test_a_part_that_stands_still_leaves_the_clipping_to_the_others() -> None:
    """Breaks if the gradient of a frozen part takes the room of the others within the norm."""
    tasks = make_tasks(a="regression", b="regression")
    split = make_split(tasks)
    frozen, joint = (make_mlp(tasks, kind=SeparateMLPs) for _ in range(2))
    learner = learner_with(
        Joint,
        tasks,
        split,
        model=frozen,
        optimizer=SGD,
        clip=0.01,
        groups={"b": {"start": 4}},
        length=LENGTH,
    )
    alone = make_learner(tasks, split, model=joint, optimizer=SGD, clip=0.01)
    for _ in range(3):
        learner.step(split, only(0, 1, of=2))
        alone.step(split, only(0, of=2))
    assert_same_bits(frozen.state_dict(), joint.state_dict())


def test_the_norm_that_is_clipped_is_that_of_all_parts() -> None:
    """Breaks if `trainer.clip` is lost, or every part is clipped by itself."""
    tasks = three_tasks()
    split, model = make_split(tasks), Pairs(tasks)
    before = flat_parameters(model)
    train(
        learner_with(Joint, tasks, split, model=model, optimizer=SGD, clip=0.5, groups={"a": {}}),
        split,
        1,
    )
    assert_near((before - flat_parameters(model)).norm(), torch.tensor(0.01 * 0.5), 1e-7)


def test_a_gain_scales_the_initial_weights_of_its_part() -> None:
    """Breaks if `gain` misses a weight, scales a bias, or reaches another part."""
    tasks = three_tasks()
    start = parts_of(Pairs(tasks))
    for index, name in enumerate(("shared", "a", "b", "c")):
        model = Pairs(tasks)
        learner_with(Joint, tasks, make_split(tasks), model=model, groups={name: {"gain": 0.25}})
        scaled = parts_of(model)
        for part in range(4):
            for key, value in start[part].items():
                assert_same_bits(
                    scaled[part][key],
                    value * (0.25 if part == index and key.endswith("weight") else 1.0),
                )


def test_a_fresh_copy_continues_from_a_saved_state_to_the_last_bit() -> None:
    """Breaks if a resumed run forgets how long a part has waited, or scales weights twice."""
    tasks = three_tasks()
    split = make_split(tasks)
    groups = {
        "shared": {"start": 1},
        "b": {"start": "9 steps", "lr": 0.1},
        "c": {"gain": 2.0, "weight_decay": 0.2},
    }

    def made() -> Any:
        return learner_with(
            Joint, tasks, split, model=Pairs(tasks), optimizer=AdamW, groups=groups, length=LENGTH
        )

    learner = made()
    train(learner, split, 7)
    model, state = (
        copy_state(learner.model.state_dict()),
        through_a_file(learner.update.state_dict()),
    )
    train(learner, split, 5)
    twin = made()
    twin.model.load_state_dict(model)
    twin.update.load_state_dict(state)
    train(twin, split, 5)
    assert_same_bits(twin.model.state_dict(), learner.model.state_dict())


def test_the_settings_of_the_caller_stay_as_they_are() -> None:
    """Breaks if `start` and `gain` disappear from the config that the run writes down."""
    tasks = three_tasks()
    groups = {"a": {"start": 1, "gain": 2.0, "lr": 0.1}}
    learner_with(Joint, tasks, make_split(tasks), groups=groups, length=LENGTH)
    assert groups == {"a": {"start": 1, "gain": 2.0, "lr": 0.1}}


# What it refuses


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ({"d": {}}, "update.groups names 'd', which is no part of the model; "),
        (
            {"share": {}},
            "update.groups names 'share', which is no part of the model; did you mean 'shared'? allowed: a, b, c, shared",
        ),
        (
            [{"lr": 0.1}],
            "update.groups must be {shared: {lr: 0.001}, <task>: {lr: 0.01}}; found [{'lr': 0.1}]",
        ),
        ({"a": 0.1}, "update.groups.a must be settings such as {lr: 0.01}; found 0.1"),
        (
            {"a": {"start": "soon"}},
            "update.groups.a.start='soon' is not a time; write epochs (200), steps ('1000 steps')",
        ),
        ({"a": {"start": -1}}, "update.groups.a.start=-1 is not a time"),
        ({"a": {"gain": 0}}, "update.groups.a.gain must be a positive number; found 0"),
        (
            {"shared": {"gain": "big"}},
            "update.groups.shared.gain must be a positive number; found 'big'",
        ),
    ],
    ids=str,
)
def test_a_wrong_setting_is_named_with_what_would_be_right(groups: Any, words: str) -> None:
    """Breaks if a part of the model silently keeps the optimizer's settings."""
    tasks = three_tasks()
    with pytest.raises(ConfigError) as error:
        learner_with(Joint, tasks, make_split(tasks), groups=groups, length=LENGTH)
    assert words in str(error.value)


def test_a_part_without_parameters_is_named() -> None:
    """Breaks if settings for nothing are taken without a word."""
    tasks = make_tasks(a="regression", b="regression")
    split = make_split(tasks)
    separate = make_mlp(tasks, kind=SeparateMLPs)
    with pytest.raises(
        ConfigError,
        match=r"update\.groups\.shared is empty: no parameter is shared by two tasks; leave it out",
    ):
        learner_with(Joint, tasks, split, model=separate, groups={"shared": {"lr": 0.1}})
    common = nn.Parameter(torch.ones(1))
    parameters = Parameters([common], [frozenset({0, 1})])
    with pytest.raises(
        ConfigError,
        match=r"update\.groups\.b is empty: task 'b' has no parameter of its own; leave it out",
    ):
        Joint(parameters, Adam, groups={"b": {"lr": 0.1}}, tasks=tasks)
