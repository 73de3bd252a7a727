"""Which targets of a foreign config tree are allowed, and that nothing runs before that is known.

``tests/unit/runs/test_payloads.py`` attacks whole run directories.
"""

from __future__ import annotations

import re
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mtl_runner import likelihood, models
from mtl_runner.config.trust import MOST_LEVELS, checked_trees, named_classes
from mtl_runner.errors import ConfigError, RunDirectoryError

FILE = Path("run/best.pt")
ALLOWED = (
    named_classes(nn, nn.Module)
    | named_classes(models, nn.Module)
    | named_classes(likelihood, likelihood.Likelihood)
)


def check(tree: Any, trust: Any = ()) -> Any:
    """Return the checked copy of one tree."""
    return checked_trees({"model": tree}, ALLOWED, trust, FILE)["model"]


def node(target: Any, **options: Any) -> dict[str, Any]:
    """Return a node with a target."""
    return {"_target_": target, **options}


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two packages, `my` and `mymalware`, that note when they are imported."""
    for name in ("my", "mymalware"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(
            f"import os, pathlib, sys, torch\nfrom os import system\n"
            f"pathlib.Path({str(tmp_path / f'{name}.imported')!r}).touch()\n"
        )
        (tmp_path / name / "nets.py").write_text(
            "import functools\nfrom torch import nn\nfrom mtl_runner.models import MLP\n"
            "class Net(nn.Module):\n    @classmethod\n    def small(cls): return cls()\n"
            "def build(): return Net()\nready = functools.partial(build)\n"
        )
        for module in (name, f"{name}.nets"):
            monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    "target",
    [
        "torch.nn.ReLU",
        "torch.nn.modules.activation.ReLU",
        "mtl_runner.models.MLP",
        "mtl_runner.models.mlp.MLP",
        "mtl_runner.likelihood.Standard",
        "mtl_runner.likelihood.base.Standard",
    ],
)
def test_our_classes_and_layers_of_torch_are_allowed(target: str) -> None:
    """Breaks if a plain run cannot be loaded, by a class's public path or the one it knows."""
    tree = node(target, a=[1, (2.5, None)], b=OrderedDict(c=node("torch.nn.Tanh")))
    assert check(tree) == node(target, a=[1, [2.5, None]], b={"c": node("torch.nn.Tanh")})


@pytest.mark.parametrize(
    "target",
    [
        # Functions of ours, and classes that are no models: they open files and start processes.
        "mtl_runner.run",
        "mtl_runner.load",
        "mtl_runner.runs.predictor.load",
        "mtl_runner.files.write_atomic",
        "mtl_runner.config.instantiate.make",
        "mtl_runner.data.Table",
        "mtl_runner.tasks.task.Task",
        # Attributes of what is allowed lead anywhere.
        "mtl_runner.models.mlp.torch.load",
        "mtl_runner.models.MLP.load_state_dict",
        "mtl_runner.models.MLP.__init__",
        "torch.nn.modules.module.torch.load",
        "torch.nn.modules.module.warnings.sys.exit",
        "torch.nn.Module.__subclasses__",
        "torch.nn.ReLU.__class__",
        # Parts of torch.nn that are no layers.
        "torch.nn.utils.parametrize.register_parametrization",
        "torch.nn.init.zeros_",
        "torch.nn.functional.relu",
        "torch.nn.Parameter",
        "torch.nn.parallel.DistributedDataParallel",
        "torch.nn",
        "torch.load",
        "torch.hub.load",
        "torchvision.models.resnet18",
        "builtins.eval",
        "os.system",
    ],
)
def test_all_else_is_refused_with_what_to_pass(target: str) -> None:
    """Breaks if a path that begins like an allowed one leads to a function that runs code."""
    package = target.split(".")[0]
    advice = "torchvision" if package == "torchvision" else target
    sentence = (
        "'run/best.pt' names code that is neither mtl-runner's nor a layer of torch.nn "
        f"(model._target_='{target}'); only if you trust it, type mtl_runner.load('run', trust=['{advice}']), or in a terminal --trust {advice}."
    )
    with pytest.raises(RunDirectoryError, match=f"^{re.escape(sentence)}$"):
        check(node(target))


EVIL = node("os.system", command="true")


@pytest.mark.parametrize(
    ("tree", "key"),
    [
        (EVIL, "model"),
        (node("torch.nn.ReLU", inplace=EVIL), "model.inplace"),
        (node("torch.nn.Sequential", _args_=[[node("torch.nn.ReLU"), EVIL]]), "model._args_.0.1"),
        (node("torch.nn.ReLU", a={"b": ({"c": EVIL},)}), "model.a.b.0.c"),
        (node("torch.nn.ReLU", a=OrderedDict(b=EVIL)), "model.a.b"),
        (node("torch.nn.ReLU", _recursive_=False, a=EVIL), "model.a"),
        (node("torch.nn.ReLU", _convert_={"a": EVIL}), "model._convert_.a"),
        ({"a": {1: EVIL}}, "model.a.1"),
        ({"_partial_": True, **EVIL}, "model"),
        ([EVIL], "model.0"),
    ],
)
def test_targets_are_found_at_every_depth(tree: Any, key: str) -> None:
    """Breaks if an option, a list, or an argument by position can hide a target."""
    with pytest.raises(RunDirectoryError, match=re.escape(f"({key}._target_='os.system')")):
        check(tree)


@pytest.mark.parametrize(
    ("tree", "problem"),
    [
        (node(["os.system"]), "model._target_ is a list"),
        (node({"a": 1}), "model._target_ is a dict"),
        (node(None), "model._target_ is a NoneType"),
        (node(nn.Parameter), "model._target_ is a _ParameterMeta"),
        (node(print), "model._target_ is a builtin_function_or_method"),
        (node(""), "model._target_='' is no import path"),
        (node("torch.nn.ReLU "), "model._target_='torch.nn.ReLU ' is no import path"),
        (node(".torch.nn.ReLU"), "model._target_='.torch.nn.ReLU' is no import path"),
        (node("torch..nn.ReLU"), "model._target_='torch..nn.ReLU' is no import path"),
        (node("os.system\x1b[2J"), r"model._target_='os.system\x1b[2J' is no import path"),
        (node("${oc.env:HOME}"), "model._target_='${oc.env:HOME}' is no import path"),
        (node("???"), "model._target_='???' is no import path"),
        (
            node("torch.nn.ReLU", inplace="${oc.decode:'{_target_: os.system}'}"),
            "model.inplace holds an interpolation, \"${oc.decode:'{_target_: os.system}'}\"",
        ),
        (node("torch.nn.ReLU", a=[r"\${b}"]), r"model.a.0 holds an interpolation, '\\${b}'"),
        (node("torch.nn.ReLU", a=print), "model.a is a builtin_function_or_method"),
        (node("torch.nn.ReLU", a={1, 2}), "model.a is a set"),
        ({"a": {b"_target_": 1}}, "a key of model.a is a bytes"),
    ],
)
def test_a_tree_that_no_run_writes_is_refused(tree: Any, problem: str) -> None:
    """Breaks if Hydra resolves, or makes, something that the check took for a plain value."""
    sentence = f"'run/best.pt' is not as mtl-run writes it: {problem}; load the run's own best.pt."
    with pytest.raises(RunDirectoryError, match=f"^{re.escape(sentence)}$"):
        check(tree)


def test_lists_that_hold_each_other_are_refused() -> None:
    """Breaks if a file of a few hundred bytes keeps `load` busy for ever."""
    endless: list[Any] = []
    endless.append(endless)
    doubled: Any = [1]
    for _ in range(MOST_LEVELS - 2):
        doubled = [doubled, doubled]
    for tree in (endless, doubled):
        with pytest.raises(RunDirectoryError, match=f"holds more than {MOST_LEVELS} levels or"):
            check(tree)


def test_tensors_are_plain_values() -> None:
    """Breaks if an option of a user's kind that is a tensor cannot be loaded."""
    cuts = torch.arange(3)
    assert check(node("torch.nn.ReLU", cuts=cuts))["cuts"] is cuts


def test_what_is_not_trusted_is_not_imported(packages: Path) -> None:
    """Breaks if the code of a file runs while it is looked at."""
    tree = node("my.nets.Net", layer=node("mymalware.nets.Net"))
    for trust in ([], ["mymalwar"], ["my.nets", "m"], ["my"]):
        with pytest.raises(RunDirectoryError, match=r"trust=.*'mymalware'\]"):
            check(tree, trust)
    assert not list(packages.glob("*.imported")), "also the trusted one, while another is refused"
    assert check(tree, ["my.nets", "mymalware"]) == tree


@pytest.mark.parametrize("trust", [["my"], ["my.nets"], ("my.nets.Net", "my.nets.build"), {"my"}])
def test_trust_is_by_whole_names(packages: Path, trust: Any) -> None:
    """Breaks if a user cannot load a model of their own."""
    tree = node("my.nets.Net", build=node("my.nets.build"))
    assert check(tree, trust) == tree


def test_ours_is_allowed_by_the_name_of_a_trusted_package(packages: Path) -> None:
    """Breaks if a package that offers one of our models under its own name cannot be loaded."""
    assert check(node("my.nets.MLP"), ["my"])
    assert check(node("my.nets.Net.small"), ["my"])


@pytest.mark.parametrize(
    "target",
    ["my.os.system", "my.system", "my.torch.load", "my.sys.modules.clear", "my.nets.nn.Parameter",
     "my.nets.Net.load_state_dict", "my.nets.Net.__subclasses__", "my.nets.build.__class__",
     "my.nets.build.__globals__.clear", "my.nets.ready", "my.os"],
)  # fmt: skip
def test_a_trusted_package_leads_nowhere_else(packages: Path, target: str) -> None:
    """Breaks if trust in a package is trust in all that it imports."""
    with pytest.raises(RunDirectoryError) as error:
        check(node(target), ["my"])
    assert str(error.value).endswith(
        f"type mtl_runner.load('run', trust=['my', '{target}']), or in a terminal --trust my --trust {target}."
    )


def test_a_single_target_can_be_trusted(packages: Path) -> None:
    """Breaks if an activation function, or a class that a package offers for another, is lost."""
    assert check(node("torch.nn.functional.relu"), ["torch.nn.functional.relu"])
    assert check(node("my.nets.ready"), ["my.nets.ready"])


def test_several_targets_are_one_sentence_with_all_that_to_pass() -> None:
    """Breaks if a user is told of one target after the other."""
    layers = [node(f"mine_{i}.Layer") for i in range(5)]
    with pytest.raises(RunDirectoryError) as error:
        check(layers, ["other"])
    assert str(error.value) == (
        "'run/best.pt' names code that is neither mtl-runner's nor a layer of torch.nn (model.0._target_='mine_0.Layer', "
        "model.1._target_='mine_1.Layer', model.2._target_='mine_2.Layer' and 2 more); only if you trust it, "
        "type mtl_runner.load('run', trust=['other', 'mine_0', 'mine_1', 'mine_2', 'mine_3', 'mine_4']), or in a terminal "
        "--trust other --trust mine_0 --trust mine_1 --trust mine_2 --trust mine_3 --trust mine_4."
    )


def test_a_trusted_module_that_is_not_there_is_named() -> None:
    """Breaks if a user who starts Python in another folder does not learn what is missing."""
    with pytest.raises(ConfigError) as error:
        check(node("no_such_package.Net"), ["no_such_package"])
    assert str(error.value).startswith("model._target_='no_such_package.Net' cannot be imported (")
    assert str(error.value).endswith(
        "; put the folder that holds no_such_package on PYTHONPATH: its run did not record where it lay."
    )


def test_a_trusted_class_that_is_not_there_is_named(packages: Path) -> None:
    """Breaks if a class that was renamed since is looked for on PYTHONPATH."""
    with pytest.raises(ConfigError, match="cannot be imported") as error:
        check(node("my.nets.Old"), ["my"])
    assert "PYTHONPATH" not in str(error.value)


@pytest.mark.parametrize("trust", ["my_package", True, [""], ["my package"], [1], None, [None]])
def test_trust_is_a_list_of_import_paths(trust: Any) -> None:
    """Breaks if trust="my_package" trusts the packages m, y, ..., or "" trusts everything."""
    sentence = f"trust must be a list of packages or modules, e.g. ['my_package']; found {trust!r}."
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        check(node("torch.nn.ReLU"), trust)
