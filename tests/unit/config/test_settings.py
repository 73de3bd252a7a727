"""The plain values that the trainer reads from the config."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import pytest

from mtl_runner.config.settings import LoaderOptions, RecordOptions, Settings, TrainerOptions
from mtl_runner.errors import ConfigError


def config(**changes: Any) -> dict[str, Any]:
    """Return a plain config with the keys that settings are read from."""
    plain = {"trainer": {}, "record": {}, "seed": 0, "share": True, "data": {"batch_size": 32}}
    return {**plain, **changes}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"trainer": {"epochs": 0}}, "trainer.epochs must be auto or a whole number of at least 1"),
        ({"trainer": {"epohs": 1}}, "trainer.epohs is not an option of TrainerOptions; did you mean 'epochs'?"),
        ({"trainer": {"threads": "two"}}, "trainer.threads must be auto or a whole number of at least 1; found 'two'."),
        ({"trainer": {"judge": "last"}}, "trainer.judge='last' is unknown; allowed: best, final."),
        ({"trainer": {"epochs": "automatic"}}, "trainer.epochs must be auto or a whole number of at least 1; found 'automatic'."),
        ({"trainer": {"patience": 0}}, "trainer.patience must be a whole number of at least 1; found 0."),
        ({"trainer": {"give_up": 0.8}}, "trainer.give_up must be a mapping {epoch: monitor}; found 0.8."),
        ({"trainer": {"give_up": {"25%": 1}}}, "The epoch of an entry of trainer.give_up must be a whole number of at least 1; found '25%'."),
        ({"trainer": {"give_up": {10: True}}}, "trainer.give_up.10 must be a number; found True."),
        ({"trainer": {"clip": 0}}, "trainer.clip must be a positive number; found 0."),
        ({"trainer": {"lr_scheduler_per": "batch"}}, "trainer.lr_scheduler_per='batch' is unknown"),
        ({"trainer": {"lr_scheduler": "linear"}}, "trainer.lr_scheduler='linear' is unknown; use cosine, null, or"),
        ({"trainer": {"compile": "maybe"}}, "trainer.compile='maybe' is unknown; allowed: auto, true, false."),
        ({"record": {"figures": "eps"}}, "record.figures='eps' is unknown; allowed: pdf, svg"),
        ({"record": {"plots": "some"}}, "record.plots='some' is unknown; allowed: all, best, none"),
        ({"record": {"checkpoints": "all"}}, "record.checkpoints='all' is unknown; allowed:"),
        ({"record": {"checkpoints": "last", "plots": "best"}}, "record.plots=best draws the best runs after a sweep, from their checkpoint.pt and best.pt; set record.checkpoints=both instead of last, or record.plots=all or none."),
        ({"record": {"safetensors": "yes"}}, "record.safetensors must be true or false"),
        ({"record": {"predictions": 1}}, "record.predictions must be true or false; found 1."),
        ({"seed": -1}, "seed must be a whole number of at least 0; found -1."),
        ({"share": None}, "share must be true or false; found None."),
        ({"data": {"batch_size": "all"}}, "data.batch_size must be auto or a whole number of at least 1; found 'all'."),
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
    ("rows", "options", "epochs"),
    [
        (250, {}, 200),
        (540, {}, 118),
        (1600, {}, 40),
        (22_800, {}, 22),
        (10**6, {}, 10),
        (1000, {"steps_per_epoch": 50}, 40),
    ],
)
def test_automatic_epochs_make_about_2000_steps(
    rows: int, options: dict[str, int], epochs: int
) -> None:
    """Breaks if a large table trains for hours by default, or a small one hardly at all."""
    data = {"batch_size": "auto", **options}
    automatic = Settings.read(config(trainer={"epochs": "auto"}, data=data))
    assert automatic.with_batch_size_for(rows).trainer.epochs == epochs
    short = Settings.read(config(trainer={"epochs": "auto"}, data=data, debug=True))
    assert short.with_batch_size_for(rows).trainer.epochs == 2
    named = Settings.read(config(trainer={"epochs": 7}, data=data))
    assert named.with_batch_size_for(rows).trainer.epochs == 7


@pytest.mark.parametrize(
    ("rows", "size"), [(1, 32), (3200, 32), (10_000, 128), (50_000, 512), (10**6, 1024)]
)
def test_an_automatic_batch_is_a_hundredth_of_the_rows(rows: int, size: int) -> None:
    """Breaks if a recorded run with an automatic batch size is repeated with another one."""
    automatic = Settings.read(config(data={"batch_size": "auto"}))
    assert automatic.with_batch_size_for(rows).batch_size == size
    assert Settings.read(config()).with_batch_size_for(rows).batch_size == 32


def test_a_step_is_compiled_where_the_number_of_steps_makes_it_pay() -> None:
    """Breaks if a short run waits half a minute for the compiler, or depends on measured time."""
    options = TrainerOptions()
    assert [options.should_compile(1, steps) for steps in (99_999, 100_000)] == [False, True]
    assert [options.should_compile(3, steps) for steps in (99_999, 100_000)] == [False, True]
    assert [options.should_compile(4, steps) for steps in (1999, 2000)] == [False, True]
    assert TrainerOptions(compile=True).should_compile(1, 1)
    assert not TrainerOptions(compile=False).should_compile(9, 10**9)


def test_cosine_is_a_node_like_any_other() -> None:
    """Breaks if a scheduler has two ways to be made."""
    cosine = "torch.optim.lr_scheduler.CosineAnnealingLR"
    assert TrainerOptions(epochs=9).scheduler_node == {"_target_": cosine}
    assert TrainerOptions(lr_scheduler=None).scheduler_node is None
    node = {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 3}
    assert TrainerOptions(lr_scheduler=node).scheduler_node == node


@pytest.mark.parametrize(("workers", "refused"), [(1024, False), (1025, True)])
def test_workers_have_a_limit(workers: int, refused: bool) -> None:
    """Breaks if a typing mistake starts a million processes."""
    context = (
        pytest.raises(ConfigError, match=r"data\.loader\.workers must be at most 1024; found 1025")
        if refused
        else contextlib.nullcontext()
    )
    with context:
        LoaderOptions(workers=workers)


def test_nested_nodes_are_left_to_the_run() -> None:
    """Breaks if a scheduler is made before the optimizer that it changes."""
    node = {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 3}
    assert Settings.read(config(trainer={"lr_scheduler": node})).trainer.lr_scheduler == node
    assert RecordOptions() == Settings.read(config()).record


@pytest.mark.parametrize(
    ("accumulate", "rows"),
    [(None, 100), (1, 100), (3, 34), ("4", 25), ("64 rows", 64), ("1 row", 1), (200, 1)],
)
def test_parts_of_a_batch_are_a_number_of_parts_or_of_rows(
    accumulate: int | str | None, rows: int
) -> None:
    """Breaks if a batch goes through the model in other parts than asked for."""
    assert TrainerOptions(accumulate=accumulate).part_rows(100) == rows


@pytest.mark.parametrize("accumulate", [0, -1, 2.5, True, "rows", "64 steps", "0 rows", ""])
def test_other_parts_are_refused(accumulate: object) -> None:
    """Breaks if a typing mistake is taken for something."""
    with pytest.raises(ConfigError) as error:
        TrainerOptions(accumulate=accumulate)  # type: ignore[arg-type]
    assert str(error.value) == (
        f"trainer.accumulate={accumulate!r} is neither a number of parts (4) nor of rows ('64 rows')."
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"parallel": "ddp"},
            "trainer.parallel='ddp' is unknown; allowed: data, fsdp.",
        ),
        ({"devices": 0}, "trainer.devices must be auto or a whole number of at least 1; found 0."),
        (
            {"devices": 1.5},
            "trainer.devices must be auto or a whole number of at least 1; found 1.5.",
        ),
        ({"devices": 5000}, "trainer.devices must be at most 1024; found 5000."),
        (
            {"devices": "all"},
            "trainer.devices='all' is not a number of devices; give 1, 2, ... or auto.",
        ),
        (
            {"devices": "auto", "device": "cuda:0"},
            "trainer.device=cuda:0 is one device, but trainer.devices=auto asks for several; give trainer.device=cuda, or leave trainer.devices out.",
        ),
        ({"timeout": -1}, "trainer.timeout must be a positive number; found -1."),
    ],
)
def test_devices_are_checked(options: dict[str, Any], sentence: str) -> None:
    """Breaks if a wrong number of processes is started, or waited for without end."""
    with pytest.raises(ConfigError) as error:
        TrainerOptions(**options)
    assert str(error.value) == sentence
    assert TrainerOptions(devices="auto").devices == "auto"


def test_precision_and_average_are_checked() -> None:
    """Breaks if an unknown precision trains in float32."""
    with pytest.raises(ConfigError, match=r"^trainer\.precision"):
        TrainerOptions(precision="half")
    with pytest.raises(ConfigError, match=r"^trainer\.ema must lie in \[0, 1\); found 1\.$"):
        TrainerOptions(ema=1)
