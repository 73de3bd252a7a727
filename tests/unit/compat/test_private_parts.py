"""Private parts of other packages that compat/ relies on: where a new version moves one, the test says what, and where to mend it."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from mtl_runner.compat import torch_modules
from mtl_runner.compat.omegaconf_yaml import yaml_of
from mtl_runner.compat.torch_optimizers import defer_compiler, stepper
from mtl_runner.compat.torchjd_state import STATES, get_state, set_state
from mtl_runner.gradients.parameters import leaves_of


def _hydra_loader() -> bool:
    from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname

    wanted = {"overrides", "kv_sep", "item_sep", "exclude_keys"}
    has_names = wanted <= set(inspect.signature(get_overrides_dirname).parameters)
    return has_names and callable(getattr(ConfigLoaderImpl, "_apply_overrides_to_config", None))


def _hydra_launcher() -> bool:
    from hydra._internal.core_plugins.basic_launcher import BasicLauncher

    return {"setup", "launch"} <= set(dir(BasicLauncher))


def _omegaconf_dumper() -> bool:
    from omegaconf._utils import get_omega_conf_dumper

    return callable(get_omega_conf_dumper().str_representer)


def _torch_wrappers() -> bool:
    optimizer = torch.optim.Adam(
        [nn.Parameter(torch.zeros(1))]
    )  # the first one wraps the step of its class
    inner = getattr(getattr(type(optimizer).step, "__wrapped__", None), "__wrapped__", None)
    return inner is not None and inner.__qualname__.endswith(".step")


def _torch_hooks() -> bool:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    return hasattr(optimizer, "_optimizer_step_pre_hooks") and hasattr(
        optimizer, "_optimizer_step_post_hooks"
    )


def _torch_layers() -> bool:
    layers = (nn.Dropout(0.1), nn.Dropout2d(0.1), nn.BatchNorm1d(2), nn.BatchNorm2d(2))
    random = [torch_modules.draws_at_random(layer) for layer in layers]
    running = [torch_modules.keeps_running_statistics(layer) for layer in layers]
    return random == [True, True, False, False] and running == [False, False, True, True]


def _torch_graph() -> bool:
    first, second = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    used = leaves_of(((first * 2) * second).sum())
    return set(used) == {first, second} and used[second] > used[first]


PARTS: dict[str, tuple[str, str, Callable[[], bool]]] = {
    "how Hydra puts overrides into a config": ("hydra-core", "hydra_compose.py", _hydra_loader),
    "Hydra's basic launcher": ("hydra-core", "hydra_launcher.py", _hydra_launcher),
    "OmegaConf's YAML dumper": ("omegaconf", "omegaconf_yaml.py", _omegaconf_dumper),
    "the wrappers of Optimizer.step": ("torch", "torch_optimizers.py", _torch_wrappers),
    "the hooks of an optimizer": ("torch", "torch_optimizers.py", _torch_hooks),
    "the bases of dropout and BatchNorm": ("torch", "torch_modules.py", _torch_layers),
    "the sequence number of autograd's nodes": ("torch", "torch_modules.py", _torch_graph),
}


@pytest.mark.parametrize("what", PARTS)
def test_a_private_part_is_where_it_was(what: str) -> None:
    """Breaks if a new version of a package moves what compat/ touches."""
    package, file, is_there = PARTS[what]
    try:
        found = is_there()
    except (ImportError, AttributeError, TypeError) as error:
        pytest.fail(
            f"{package} {version(package)} moved {what} ({error}); mend mtl_runner/compat/{file}."
        )
    assert found, f"{package} {version(package)} moved {what}; mend mtl_runner/compat/{file}."


@pytest.mark.parametrize(
    "content",
    [{"a": 1, "b": [1, 2.5, None], "c": "1e3", "d": {"e": "yes", "f": "x: y"}}, ["a=1", "b='x'"]],
)
def test_yaml_is_omegaconfs_own(content: Any) -> None:
    """Breaks if a recorded config reads back as another one."""
    assert yaml_of(content).decode() == OmegaConf.to_yaml(OmegaConf.create(content))


@pytest.mark.parametrize("name", STATES)
def test_the_state_of_an_aggregator_comes_back(name: str) -> None:
    """Breaks if a new version of TorchJD keeps a state elsewhere: a resumed run would begin anew, without a word."""
    aggregation = pytest.importorskip("torchjd.aggregation")
    rows = [torch.randn(3, 5, generator=torch.Generator().manual_seed(seed)) for seed in range(4)]
    first, second = getattr(aggregation, name)(), getattr(aggregation, name)()
    for row in rows[:3]:
        first(row)
    saved = copy.deepcopy(get_state(first))
    assert saved, (
        f"torchjd {version('torchjd')} moved the state of {name}; mend mtl_runner/compat/torchjd_state.py."
    )
    set_state(second, saved)
    torch.manual_seed(0)
    expected = first(rows[3])
    torch.manual_seed(0)
    torch.testing.assert_close(second(rows[3]), expected)


def test_without_the_wrappers_the_ordinary_step_is_taken() -> None:
    """Breaks if a class of a user's own, which nothing is known of, is stepped in another way than by its step."""

    class Mine(torch.optim.SGD):
        pass

    optimizer = Mine([nn.Parameter(torch.zeros(1))], lr=0.1)
    assert stepper(optimizer) == optimizer.step
    defer_compiler()  # twice, or with the compiler there: nothing happens
    defer_compiler()
