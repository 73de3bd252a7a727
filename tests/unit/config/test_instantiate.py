"""Objects from config nodes, and the sentence for each way in which that can fail."""

from __future__ import annotations

import re
from typing import Any

import hydra.utils
import pytest
import torch
from torch import nn

from mtl_runner.config.instantiate import (
    make,
    make_function,
    make_update,
    optimizer_factory,
    takes,
)
from mtl_runner.errors import CodeError, ConfigError, DataError
from mtl_runner.weighting import Weighting

HERE = "tests.unit.config.test_instantiate"
RECORDED, REFUSE = f"{HERE}.Recorded", f"{HERE}.refuse"


class Recorded:
    """A class that keeps what it was made with."""

    def __init__(self, a: Any = 1, tasks: Any = None) -> None:
        self.a, self.tasks = a, tasks


class Forgetful(Weighting):
    """A weighting that does not hand on the tasks to its base."""

    def __init__(self, a: Any = 1) -> None:
        super().__init__()  # type: ignore[call-arg]

    def forward(self, losses: Any, active: Any = None) -> Any:
        return losses.sum()


def refuse(a: int = 0) -> None:
    """Raise the error of a user's own class."""
    raise ValueError("a is too small.\nMore lines")


def no_data() -> None:
    """Raise an error that is already a sentence."""
    raise DataError("There is no file.")


def term(outputs: Any, targets: Any, factor: float = 1.0) -> float:
    """Return a loss, as a loss term does."""
    return factor * (outputs + targets)


term.metrics = {"m": term}  # type: ignore[attr-defined]


class AnyOptions:
    """A class that takes any option."""

    def __init__(self, **options: Any) -> None:
        self.options = options


def test_objects_of_the_run_are_passed_by_name() -> None:
    """Breaks if a class gets what it does not ask for, or a copy instead of the object."""
    tasks = [object()]
    made = make({"_target_": f"{HERE}.Recorded", "a": {"b": [1]}}, "key", tasks=tasks, seed=3)
    assert made.tasks is tasks
    assert made.a == {"b": [1]}
    assert type(made.a) is dict
    chosen = make({"_target_": f"{HERE}.Recorded", "tasks": 5}, "key", tasks=tasks)
    assert chosen.tasks == 5, "the node comes first"


@pytest.mark.parametrize(
    ("node", "sentence"),
    [
        ({}, "key needs a `_target_`, the import path of a class or function, e.g. my_module.MyClass."),
        ("x", "key needs a `_target_`, the import path of a class or function, e.g. my_module.MyClass."),
        ({"_target_": "no_such_module.A"}, "key._target_='no_such_module.A' cannot be imported ("),
        ({"_target_": "torchjd.no.A"}, "key._target_='torchjd.no.A' cannot be imported ("),
        ({"_target_": "math.pi"}, "key._target_='math.pi' is a float; it must be a class or function."),
        ({"_target_": RECORDED, "b": 1}, "key.b is not an option of Recorded; allowed: a, other."),
        ({"_target_": REFUSE, "a": 1}, f"key: {REFUSE} refuses its options (a=1): a is too small."),
        ({"_target_": RECORDED, "a": {"_target_": REFUSE}}, f"key: {RECORDED} refuses its options"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_one_sentence(node: Any, sentence: str) -> None:
    """Breaks if a mistake in a config is a traceback of Hydra's."""
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}") as error:
        make(node, "key", other_keys=["other"], tasks=[])
    assert "\n" not in str(error.value)
    assert ("pip install 'mtl-runner[torchjd]'" in str(error.value)) == ("torchjd" in sentence)


def test_a_mistake_in_the_class_is_none_of_its_options() -> None:
    """Breaks if a class that forgets the tasks of its base is `not applicable` to the problem."""
    with pytest.raises(CodeError) as error:
        make({"_target_": f"{HERE}.Forgetful", "a": 2}, "weighting", tasks=[])
    assert str(error.value) == (
        f"weighting: {HERE}.Forgetful calls Weighting.__init__ without tasks; let its __init__ take tasks, too, and call super().__init__(tasks)."
    )
    with pytest.raises(ConfigError, match="refuses its options"):
        make({"_target_": "torch.nn.Linear", "in_features": 2}, "model")


def test_an_error_that_is_a_sentence_stays_as_it_is() -> None:
    """Breaks if the reason of a user's own error is buried under that of the config."""
    with pytest.raises(DataError, match=r"^There is no file\.$"):
        make({"_target_": f"{HERE}.no_data"}, "key")
    with pytest.raises(DataError, match=r"^There is no file\.$"):
        make({"_target_": f"{HERE}.Recorded", "a": {"_target_": f"{HERE}.no_data"}}, "key")


def test_a_class_that_takes_any_option_gets_any() -> None:
    """Breaks if options of a class with keyword arguments are refused by name."""
    assert make({"_target_": f"{HERE}.AnyOptions", "x": 1}, "key").options == {"x": 1}


def test_a_function_with_open_arguments_is_kept_and_not_called() -> None:
    """Breaks if a loss term in a config is called without outputs, or loses its attributes."""
    made = make_function({"_target_": f"{HERE}.term", "factor": 2.0}, "key", arguments=2)
    assert made(1, 2) == 6.0
    assert made.metrics == {"m": term}
    assert make_function({"_target_": f"{HERE}.Recorded"}, "key", arguments=2).a == 1
    assert takes({"_target_": f"{HERE}.term"}, "factor")
    assert not takes({"_target_": f"{HERE}.term"}, "tasks")
    assert not takes({"_target_": "nowhere.A"}, "tasks")


def test_hydra_1_4_is_told_which_targets_a_node_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if Hydra 1.4 warns at every object that we make, and 1.5 refuses to make it."""
    allowed: list[list[str]] = []

    def instantiate(config: Any, *, _execution_whitelist_: Any = None, **options: Any) -> Any:
        """Make an object as Hydra's function of today does, with the argument of 1.4."""
        allowed.append(_execution_whitelist_)
        return today(config, **options)

    today = hydra.utils.instantiate
    monkeypatch.setattr("hydra.utils.instantiate", instantiate)
    node = {"_target_": RECORDED, "a": [{"_target_": "torch.nn.ReLU"}]}
    assert isinstance(make(node, "key").a[0], nn.ReLU)
    assert allowed == [[RECORDED, "torch.nn.ReLU", "torch.nn.modules.activation.ReLU"]]


class Groups:
    """An update that keeps its groups and its aggregator."""

    def __init__(self, groups: Any, aggregator: Any = None) -> None:
        self.groups, self.aggregator = groups, aggregator


def test_the_optimizers_of_groups_are_left_to_the_factory() -> None:
    """Breaks if Hydra makes an optimizer without parameters."""
    groups = {"y": {"_target_": "torch.optim.SGD", "lr": 0.1}, "z": None}
    aggregator = {"_target_": f"{HERE}.Recorded", "a": 4}
    update = make_update({"_target_": f"{HERE}.Groups", "groups": groups, "aggregator": aggregator})
    assert update.groups == {"y": {"target": "torch.optim.SGD", "lr": 0.1}, "z": None}
    assert update.aggregator.a == 4


# Optimizers


def parameters() -> list[nn.Parameter]:
    """Return one parameter, as a list."""
    return [nn.Parameter(torch.zeros(2))]


def test_an_optimizer_is_fused_where_it_can_be() -> None:
    """Breaks if a step is slower than it has to be, or a user's own choice is overruled."""
    adam = {"_target_": "torch.optim.Adam", "lr": 0.1}
    assert optimizer_factory(adam)(parameters()).defaults["fused"] is True
    assert not optimizer_factory({**adam, "foreach": True})(parameters()).defaults["fused"]
    momentum = {"_target_": "torch.optim.SGD", "lr": 0.1, "momentum": 0.9}
    assert not optimizer_factory(momentum)(parameters()).defaults["fused"]
    assert (
        "fused" not in optimizer_factory({"_target_": "torch.optim.Rprop"})(parameters()).defaults
    )


def test_another_class_takes_the_options_that_it_knows() -> None:
    """Breaks if a group with another optimizer inherits betas that it has no place for."""
    factory = optimizer_factory({"_target_": "torch.optim.Adam", "lr": 0.1, "betas": [0.8, 0.9]})
    optimizer = factory(parameters(), target="torch.optim.SGD", lr=0.5)
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.defaults["lr"] == 0.5
    assert factory(parameters()).defaults["betas"] == (0.8, 0.9)


def test_weight_decay_of_a_group_is_dropped_where_the_class_has_none() -> None:
    """Breaks if LBFGS-like optimizers without weight decay refuse our parameter groups."""
    node = {"_target_": "torch.optim.Rprop", "lr": 0.1}
    optimizer = optimizer_factory(node)([{"params": parameters(), "weight_decay": 0}])
    assert "weight_decay" not in optimizer.param_groups[0]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"lrr": 1}, "optimizer.parts.trunk.lrr is not an option of Adam; did you mean 'lr'?"),
        ({"lr": -1}, "optimizer.parts.trunk: torch.optim.Adam refuses its options ("),
    ],
)
def test_settings_of_a_part_are_checked_before_the_training(
    settings: dict[str, Any], sentence: str
) -> None:
    """Breaks if a negative rate of a part goes unnoticed: torch checks only those of all."""
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}"):
        optimizer_factory({"_target_": "torch.optim.Adam", "lr": 0.1}, {"trunk": settings})


def test_what_is_no_optimizer_is_named() -> None:
    """Breaks if a layer is stepped as an optimizer."""
    with pytest.raises(ConfigError, match=r"must make a torch\.optim\.Optimizer"):
        optimizer_factory({"_target_": f"{HERE}.AnyOptions"})(parameters())
