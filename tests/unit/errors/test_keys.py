"""A key that somebody typed without its groups, or as it is called elsewhere, is found."""

from __future__ import annotations

import pytest

from mtl_runner.errors.keys import suggest_key

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


def test_a_part_of_the_config_has_its_key_above() -> None:
    """Breaks if the suggestion cannot be typed as it stands."""
    assert suggest_key("workers", TREE["data"], above="data") == "did you mean data.loader.workers?"
