"""The defaults in the yaml files are those of the signatures."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.utils import get_object

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.config.settings import RecordOptions, Settings, TrainerOptions

CONF = conf_directory()
# Arguments that the run passes; no config lists them.
RUN_ARGUMENTS = {"trivial_losses", "seed", "clip", "clip_blocks", "tasks", "length"}
# Methods that are another one with other options; only those options are listed.
ALIASES = ("uncertainty_analytic", "uncertainty_simplified")


def nodes(path: Path) -> dict[str, dict[str, Any]]:
    """Return the nodes of a file whose target is ours, by their key."""
    content = yaml.safe_load(path.read_text()) or {}
    parts = {
        "": content,
        **{str(key): value for key, value in content.items() if isinstance(value, dict)},
    }
    return {
        key: node
        for key, node in parts.items()
        if str(node.get("_target_", "")).startswith("mtl_runner.")
    }


def plain(value: Any) -> Any:
    """Return a value in one form: None for an empty one, the default for a reference."""
    if isinstance(value, str) and (match := re.fullmatch(r"\$\{oc\.select:[^,]+,(.+)\}", value)):
        return yaml.safe_load(match[1])
    value = list(value) if isinstance(value, tuple) else value
    return None if value in ({}, []) else value


def chosen(node: dict[str, Any]) -> dict[str, str | None]:
    """Return the options that a file chooses in groups of its own, such as ``trunk: mlp``."""
    entries = [entry for entry in node.get("defaults", ()) if isinstance(entry, dict)]
    return {name: option for entry in entries for name, option in entry.items() if name.isalpha()}


FILES = [path for path in sorted(CONF.rglob("*.yaml")) if nodes(path)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONF)))
def test_a_config_lists_the_defaults_of_what_it_makes(path: Path) -> None:
    """Breaks if a method built by hand is another one than that of the command line."""
    for node in nodes(path).values():
        signature = inspect.signature(get_object(node["_target_"])).parameters
        defaults = {k: p.default for k, p in signature.items() if p.default is not p.empty}
        for name, value in node.items():
            if name in defaults:
                assert plain(value) == plain(defaults[name]), name
        if path.parent.name != "data":
            hidden = set(defaults) - set(node) - RUN_ARGUMENTS - set(chosen(node))
            assert (
                not hidden
                or "@package _global_" in path.read_text()
                or len(node) == 1
                or path.stem in ALIASES
            ), hidden


@pytest.mark.parametrize(
    "path", [path for path in FILES if chosen(nodes(path).get("", {}))], ids=lambda path: path.stem
)
def test_a_config_chooses_the_default_of_what_it_makes(path: Path) -> None:
    """Breaks if a model built by hand has another kind of trunk than that of the command line."""
    node = nodes(path)[""]
    signature = inspect.signature(get_object(node["_target_"])).parameters
    for name, option in chosen(node).items():
        file = CONF / path.parent.name / name / f"{option}.yaml"
        made = None if option is None else get_object(nodes(file)[""]["_target_"])
        assert signature[name].default is made


@pytest.mark.parametrize(
    ("kind", "path", "key"),
    [(TrainerOptions, "trainer/default.yaml", None), (RecordOptions, "config.yaml", "record")],
)
def test_the_trainers_options_are_listed_with_their_defaults(
    kind: type, path: str, key: str | None
) -> None:
    """Breaks if the options of the trainer and the record have two homes."""
    content = yaml.safe_load((CONF / path).read_text())
    listed = content if key is None else content[key]
    defaults = {name: p.default for name, p in inspect.signature(kind).parameters.items()}
    assert listed == defaults


def test_the_rest_of_the_settings_is_listed_too() -> None:
    """Breaks if a seed that nobody gave is another one than the file says."""
    content = yaml.safe_load((CONF / "config.yaml").read_text())
    defaults = {name: p.default for name, p in inspect.signature(Settings).parameters.items()}
    assert (content["seed"], content["share"]) == (defaults["seed"], defaults["share"])
