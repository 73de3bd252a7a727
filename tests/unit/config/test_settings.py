"""The plain values that the trainer reads from the config."""

from __future__ import annotations

import re
from typing import Any

import pytest

from mtl_runner.config.settings import RecordOptions, Settings, TrainerOptions
from mtl_runner.errors import ConfigError


def config(**changes: Any) -> dict[str, Any]:
    """Return a plain config with the keys that settings are read from."""
    plain = {"trainer": {}, "record": {}, "seed": 0, "share": True, "data": {"batch_size": 32}}
    return {**plain, **changes}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"trainer": {"epochs": 0}}, "trainer.epochs must be a whole number of at least 1"),
        ({"trainer": {"epohs": 1}}, "trainer.epohs is not an option of TrainerOptions; did you mean 'epochs'?"),
        ({"trainer": {"threads": "two"}}, "trainer.threads must be a whole number of at least 1; found 'two'."),
        ({"trainer": {"patience": 0}}, "trainer.patience must be a whole number of at least 1; found 0."),
        ({"trainer": {"clip": 0}}, "trainer.clip must be a positive number; found 0."),
        ({"trainer": {"lr_scheduler": "linear"}}, "trainer.lr_scheduler='linear' is unknown; use cosine, null, or"),
        ({"trainer": {"compile": "maybe"}}, "trainer.compile='maybe' is unknown; allowed: auto, true, false."),
        ({"record": {"plots": "some"}}, "record.plots='some' is unknown; allowed: all, best, none"),
        ({"record": {"predictions": 1}}, "record.predictions must be true or false; found 1."),
        ({"seed": -1}, "seed must be a whole number of at least 0; found -1."),
        ({"share": None}, "share must be true or false; found None."),
        ({"data": {"batch_size": "all"}}, "data.batch_size must be a whole number of at least 1; found 'all'."),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_sentence_with_its_key(changes: dict[str, Any], sentence: str) -> None:
    """Breaks if a wrong value is an error in the middle of a run."""
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}"):
        Settings.read(config(**changes))


def test_debug_cuts_the_epochs_short() -> None:
    """Breaks if looking for a mistake takes as long as the run, or makes a short run longer."""
    assert Settings.read(config(debug=True)).trainer.epochs == 2
    assert Settings.read(config(debug=True, trainer={"epochs": 1})).trainer.epochs == 1
    assert Settings.read(config(trainer={"epochs": 7})).trainer.epochs == 7


@pytest.mark.parametrize(
    ("rows", "size"), [(1, 32), (3200, 32), (10_000, 128), (50_000, 512), (10**6, 1024)]
)
def test_an_automatic_batch_is_a_hundredth_of_the_rows(rows: int, size: int) -> None:
    """Breaks if a recorded run with an automatic batch size is repeated with another one."""
    automatic = Settings.read(config(data={"batch_size": "auto"}))
    assert automatic.with_batch_size_for(rows).batch_size == size
    assert Settings.read(config()).with_batch_size_for(rows).batch_size == 32


@pytest.mark.parametrize(
    ("epochs", "every", "expected"),
    [
        (3, None, [1, 2, 3]),
        (7, 3, [1, 3, 6, 7]),
        (1, 5, [1]),
        (401, None, [1, *range(3, 402, 3), 401]),
    ],
)
def test_the_first_and_the_last_epoch_are_evaluated(
    epochs: int, every: int | None, expected: list[int]
) -> None:
    """Breaks if a curve lacks its first or last epoch, or has more than 200 points."""
    options = TrainerOptions(epochs=epochs, evaluate_every=every)
    evaluated = [epoch for epoch in range(1, epochs + 1) if options.should_evaluate(epoch)]
    assert evaluated == sorted(set(expected))


def test_a_step_is_compiled_where_the_number_of_steps_makes_it_pay() -> None:
    """Breaks if a short run waits half a minute for the compiler, or depends on measured time."""
    options = TrainerOptions()
    assert [options.should_compile(1, steps) for steps in (99_999, 100_000)] == [False, True]
    assert [options.should_compile(3, steps) for steps in (99_999, 100_000)] == [False, True]
    assert [options.should_compile(4, steps) for steps in (1999, 2000)] == [False, True]
    assert TrainerOptions(compile=True).should_compile(1, 1)
    assert not TrainerOptions(compile=False).should_compile(9, 10**9)


def test_cosine_is_a_node_like_any_other() -> None:
    """Breaks if the learning rate does not reach 0 in the last epoch."""
    cosine = "torch.optim.lr_scheduler.CosineAnnealingLR"
    assert TrainerOptions(epochs=9).scheduler_node == {"_target_": cosine, "T_max": 9}
    assert TrainerOptions(lr_scheduler=None).scheduler_node is None
    node = {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 3}
    assert TrainerOptions(lr_scheduler=node).scheduler_node == node


def test_nested_nodes_are_left_to_the_run() -> None:
    """Breaks if a scheduler is made before the optimizer that it changes."""
    node = {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 3}
    assert Settings.read(config(trainer={"lr_scheduler": node})).trainer.lr_scheduler == node
    assert RecordOptions() == Settings.read(config()).record
