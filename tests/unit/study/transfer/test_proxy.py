"""The narrow model: every width of every model is found, and divided."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.errors import ConfigError
from mtl_runner.experiment.build import build
from mtl_runner.study.transfer.proxy import checked_proxy, proxy_options
from tests.support.whole_runs import compose_config

NO_WIDTH = ("backbone", "point")


def node(name: str) -> dict[str, Any]:
    """Return the config node of a model, with its default trunk."""
    folder = conf_directory() / "model"
    model: Any = OmegaConf.to_container(OmegaConf.load(folder / f"{name}.yaml"))
    for choice in model.pop("defaults", []):
        if choice != "_self_" and choice["trunk"]:
            trunk = OmegaConf.load(folder / "trunk" / f"{choice['trunk']}.yaml")
            model["trunk"] = OmegaConf.to_container(trunk)
    return dict(model)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mlp", ("model.hidden=[32,32]",)),
        ("lenet", ("model.channels=[3,8]", "model.features=13")),
        ("unet", ("model.width=4",)),
        ("mpnn", ("model.width=16",)),
        ("mmoe", ("model.trunk.hidden=[32,32]",)),
        ("text_rcnn", ("model.hidden=16", "model.features=28")),
    ],
)
def test_the_widths_of_a_model_are_divided(name: str, options: tuple[str, ...]) -> None:
    """Breaks if a width is forgotten, so that the proxy is narrow in part, or depth is taken."""
    assert proxy_options(node(name), 4, name) == options


def test_every_model_of_ours_has_a_width_or_is_known_to_have_none() -> None:
    """Breaks if a new model has widths of a name that study.proxy=auto does not know."""
    for path in (conf_directory() / "model").glob("*.yaml"):
        if path.stem not in NO_WIDTH:
            assert proxy_options(node(path.stem), 2, path.stem)


def test_a_narrow_model_can_be_built_and_has_fewer_parameters() -> None:
    """Breaks if the options of the proxy are none that the model takes."""

    def size(*options: str) -> int:
        made = build(compose_config("data=toy_mixed", "data.n=20", "model=mmoe", *options))
        return sum(p.numel() for p in made.learner.model.parameters())

    assert size(*proxy_options(node("mmoe"), 8, "mmoe")) < size() / 4


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (
            {"_target_": "mtl_runner.models.Point", "start": None},
            "model=mine has no width that study.proxy=auto could divide; give the options that make it narrow, as in study.proxy={model.hidden: [32,32]}.",
        ),
        (
            {"_target_": "mtl_runner.models.Backbone", "width": 64},
            "model=mine has no width that study.proxy=auto could divide; give the options that make it narrow, as in study.proxy={model.hidden: [32,32]}.",
        ),
        (
            {"hidden": [1], "tower": []},
            "model=mine is as narrow as study.proxy=auto would make it; give a wider model, such as model.hidden=[128,128].",
        ),
    ],
)
def test_a_model_that_cannot_be_narrower_is_named(model: dict[str, Any], sentence: str) -> None:
    """Breaks if a study compares a model with itself, or its proxy is another's part."""
    with pytest.raises(ConfigError) as error:
        proxy_options(model, 4, "mine")
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("value", "options"),
    [
        ("auto", None),
        (["model.hidden=[16,16]", "model.tower=[4]"], ("model.hidden=[16,16]", "model.tower=[4]")),
        ({"model.hidden": [16, 16]}, ("model.hidden=[16,16]",)),
    ],
)
def test_the_users_proxy_is_a_list_of_options(value: Any, options: tuple[str, ...] | None) -> None:
    """Breaks if the options that make the model narrow are typed otherwise than as one types."""
    assert checked_proxy(value) == options


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("narrow", "'narrow'"),
        ([], "[]"),
        (32, "32"),
        (["optimizer.lr=0.1"], "'optimizer.lr=0.1'"),
        (["model=lenet"], "'model=lenet'"),
    ],
)
def test_a_proxy_that_is_no_options_of_the_model_is_refused(value: Any, named: str) -> None:
    """Breaks if the narrow runs differ from the wide ones in more than the model."""
    with pytest.raises(ConfigError) as error:
        checked_proxy(value)
    assert str(error.value) == (
        "study.proxy must be auto or options of the model that make it narrow, as in study.proxy={model.hidden: [32,32]}; "
        f"found {named}."
    )
