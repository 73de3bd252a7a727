"""A key that somebody typed without its groups, or as it is called elsewhere, is found."""

from __future__ import annotations

import pytest

from mtl_runner.errors.keys import OF_OTHER_TOOLS, suggest_key
from tests.oracles.methods.runs import compose

TREE = {
    "seed": 0,
    "hydra": {"run": {"dir": "x"}},
    "data": {"_target_": "a.B", "loader": {"workers": 0}, "tasks": None},
    "trainer": {"epochs": 100, "lr_scheduler": {"_target_": "c.D"}},
    "optimizer": {"lr": 0.1, "weight_decay": 0.0},
    "weighting": {"lr": 0.2},
}


@pytest.mark.parametrize(
    ("name", "question"),
    [
        ("epochs", "did you mean trainer.epochs?"),
        ("epoch", "did you mean trainer.epochs?"),
        ("max_epochs", "did you mean trainer.epochs?"),
        ("lr", "did you mean optimizer.lr or weighting.lr?"),
        ("learning_rate", "did you mean optimizer.lr or weighting.lr?"),
        ("num_workers", "did you mean data.loader.workers?"),
        ("sed", "did you mean seed?"),
        ("weigting", "did you mean weighting?"),
        ("dir", ""),
        ("_target_", ""),
        ("x", ""),
        ("nonsense", ""),
    ],
)
def test_the_whole_key_is_named(name: str, question: str) -> None:
    """Breaks if `epochs=3` is answered with a list in which epochs are missing."""
    assert suggest_key(name, TREE) == question


@pytest.mark.parametrize("above", ["", "trainer"])
@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("bf16", "trainer.precision=bf16"),
        ("accelerator", "trainer.device"),
        ("eval_steps", "trainer.evaluate_every"),
        ("load_best_model_at_end", "trainer.judge=best"),
        ("ckpt_path", "resume=<run directory>"),
        ("dataloader_num_workers", "data.loader.workers"),
    ],
)
def test_an_option_of_another_tool_is_answered_with_ours(name: str, meant: str, above: str) -> None:
    """Breaks if somebody who knows Lightning or Transformers reads a list of twenty keys."""
    assert suggest_key(name, TREE["trainer"], above=above) == f"did you mean {meant}?"
    assert not suggest_key(name, {}, above="weighting"), "a class of the user's may have it"


def test_what_other_tools_have_here_exists() -> None:
    """Breaks if the answer to a foreign option is no option of ours either."""
    config = compose("data=toy_regression")
    for meant in OF_OTHER_TOOLS.values():
        group, _, key = meant.partition("=")[0].partition(".")
        if group in ("trainer", "data"):
            assert key.split(".")[0] in config[group], meant


def test_a_part_of_the_config_has_its_key_above() -> None:
    """Breaks if the suggestion cannot be typed as it stands."""
    assert suggest_key("workers", TREE["data"], above="data") == "did you mean data.loader.workers?"
