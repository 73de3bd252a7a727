"""An experiment built from a config: its checks, its trivial predictors."""

from __future__ import annotations

import pytest
import torch

from mtl_runner.data.dataset import Split
from mtl_runner.errors import CodeError, ConfigError
from mtl_runner.experiment.build import build
from mtl_runner.experiment.dataset import Datasets
from mtl_runner.runs.lifecycle import REFUSALS
from mtl_runner.schedule import RunLength, Staged
from mtl_runner.tasks.activity import Active
from mtl_runner.weighting import Weighting
from tests.oracles.methods.runs import compose
from tests.support.builders import assert_same_bits

DATA = ("data=toy_mixed", "data.n=40", "data.batch_size=40", "model=mlp", "model.hidden=[6]")


# From config to experiment


def test_the_strategy_does_not_touch_the_initial_weights() -> None:
    """Breaks if two strategies of one seed start from different models."""
    fixed, famo = (
        build(compose(*DATA, "trainer.device=cpu", f"weighting={name}"))
        for name in ("fixed", "famo")
    )
    assert_same_bits(dict(fixed.learner.model.state_dict()), dict(famo.learner.model.state_dict()))


def test_gradnorm_needs_a_shared_weight() -> None:
    """Breaks if GradNorm silently has equal weights where nothing is shared."""
    with pytest.raises(ConfigError, match=r"The weighting GradNorm compares the tasks' gradients"):
        build(compose(*DATA, "model=separate_mlps", "trainer.device=cpu", "weighting=gradnorm"))


def test_the_last_smaller_batch_of_an_epoch_is_a_step_of_its_length() -> None:
    """Breaks if times in epochs or percent are off where the batch size divides no epoch."""
    experiment = build(
        compose(
            *("data=toy_mixed", "data.n=40", "data.batch_size=16", "model=mlp", "model.hidden=[6]"),
            *("trainer.device=cpu", "trainer.epochs=4", "schedule=staged"),
            *("schedule.start={label: 1}", "schedule.until={value: 75%}"),
        )
    )
    schedule = experiment.schedule
    assert isinstance(schedule, Staged)
    assert schedule.length == RunLength(epochs=4, steps_per_epoch=3)
    assert sorted(schedule.start_steps) == [0, 3]
    assert sorted(schedule.end_steps) == [9, 12]


class Unfinished(Weighting):
    """A weighting that forgets its base."""

    def __init__(self, power: float = 0.5) -> None:
        self.power = power

    def forward(self, losses: torch.Tensor, active: Active | None = None) -> torch.Tensor:
        return losses.sum()


def test_a_weighting_without_its_base_is_one_sentence() -> None:
    """Breaks if a user's forgotten super().__init__ is an AttributeError about `_modules`."""
    config = compose(*DATA)
    config.weighting = {"_target_": f"{__name__}.Unfinished"}
    with pytest.raises(CodeError) as error:
        build(config)
    assert (
        str(error.value)
        == "weighting: Unfinished.__init__ must begin with super().__init__(tasks)."
    )
    assert not isinstance(error.value, REFUSALS), "it has failed, and is not `not applicable`"


# Settings of parts


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("optimizer.parts={trunk: {lr: 1}}", "optimizer.parts names 'trunk', which is no part of the model; allowed: label, shared, value."),
        ("optimizer.parts={shared: 0.1}", "optimizer.parts.shared must be settings such as {lr: 0.01}; found 0.1."),
        ("optimizer.parts=0.1", "optimizer.parts must be {shared: {lr: 0.001}, <task>: {lr: 0.01}}; found 0.1."),
        ("optimizer.parts={shared: {lrr: 1}}", "optimizer.parts.shared.lrr is not an option of Adam; did you mean 'lr'? allowed: amsgrad, betas, capturable, decoupled_weight_decay, differentiable, eps, foreach, fused, lr, maximize, weight_decay."),
        ("optimizer.parts={shared: {lr: -0.01}}", "optimizer.parts.shared: torch.optim.Adam refuses its options (lr=-0.01): Invalid learning rate: -0.01."),
        ("optimizer.parts={value: {lr: abc}}", "optimizer.parts.value.lr must be a finite number; found 'abc'."),
    ],
)  # fmt: skip
def test_wrong_parts_are_one_sentence(override: str, sentence: str) -> None:
    """Breaks if a typing mistake leaves a part at the optimizer's settings, without a word."""
    with pytest.raises(ConfigError) as error:
        build(compose(*DATA, override))
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("optimizer.lr=0",), "optimizer.lr=0 trains nothing; give a positive number (optimizer.parts sets that of single parts, where 0 is allowed)."),
        (("optimizer.lr=1e-300",), "optimizer.lr=1e-300 trains nothing; give a positive number of at least 1.2e-38 (optimizer.parts sets that of single parts, where 0 is allowed)."),
        (
            ("schedule._target_=builtins.dict",),
            "schedule._target_ made a dict; it must make a Schedule.",
        ),
        (
            ("update._target_=builtins.dict",),
            "update._target_ made a dict; it must make an Update.",
        ),
        (("data.losses=3",), "data.losses must be a mapping {name: loss}; found 3."),
        (("data.metrics=''",), "data.metrics must be a mapping {task: [metric, ...]}; found ''."),
        (("record=1",), "record must be a mapping {option: value}; found 1."),
        (("trainer.device=3",), "trainer.device must be a text; found 3."),
        (("trainer.device={_target_: nowhere.Thing}",), "trainer.device must be a text; found {'_target_': 'nowhere.Thing'}."),
        (("trainer.threads=5000",), "trainer.threads must be at most 4096; found 5000."),
        (
            ("trainer.lr_scheduler={_target_: builtins.dict}",),
            "trainer.lr_scheduler._target_ made a dict; it must make a scheduler of torch.optim.lr_scheduler.",
        ),
        (
            ("trainer.lr_scheduler={_target_: torch.optim.lr_scheduler.ReduceLROnPlateau}", "trainer.lr_scheduler_per=step"),
            "ReduceLROnPlateau looks at evaluations, which are at the ends of epochs; leave out trainer.lr_scheduler_per=step, or choose another trainer.lr_scheduler.",
        ),
        (
            ("trainer.warmup=soon",),
            "trainer.warmup='soon' is not a time; write epochs (200), steps ('1000 steps') or a share of the run ('25%').",
        ),
    ],
)  # fmt: skip
def test_a_config_that_trains_nothing_is_one_sentence(
    overrides: tuple[str, ...], sentence: str
) -> None:
    """Breaks if a run does nothing, or ends in a raw error."""
    with pytest.raises(ConfigError) as error:
        build(compose(*DATA, *overrides))
    assert str(error.value) == sentence


def test_a_learning_rate_of_zero_holds_one_part_still() -> None:
    """Breaks if a part cannot be frozen by its learning rate."""
    build(compose(*DATA, "optimizer.lr=0", "optimizer.parts={shared: {lr: 0.1}}"))


DECOUPLED = "optimizer.parts={shared: {decoupled_weight_decay: true, weight_decay: 0.1}, value: {weight_decay: 0.1}}"


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("update=adatask", "optimizer.parts={shared: {amsgrad: true}}"), "update=adatask does not know the optimizer's option 'amsgrad'; leave it at its default."),
        (("update=per_task", DECOUPLED), "optimizer.parts: decoupled_weight_decay must be the same for all parts that have a weight_decay."),
    ],
)  # fmt: skip
def test_an_option_of_a_part_counts_as_one_of_the_optimizer(
    overrides: tuple[str, ...], sentence: str
) -> None:
    """Breaks if what an update cannot do for a part is left out, without a word."""
    with pytest.raises(ConfigError) as error:
        build(compose(*DATA, *overrides))
    assert str(error.value) == sentence


def test_a_part_has_one_home() -> None:
    """Breaks if one of two settings of a part is ignored."""
    with pytest.raises(ConfigError) as error:
        build(
            compose(*DATA, "optimizer.parts.shared.lr=0.001", "update.groups={shared: {lr: 0.1}}")
        )
    assert (
        str(error.value)
        == "optimizer.parts.shared and update.groups.shared both set the optimizer of one part; keep one of them."
    )


def test_without_shared_parameters_the_sentence_says_so() -> None:
    """Breaks if a setting for nothing is ignored."""
    with pytest.raises(
        ConfigError,
        match=r"^optimizer\.parts\.shared is empty: no parameter is shared by two tasks; leave it out\.$",
    ):
        build(
            compose(
                *DATA, "model=separate_mlps", "model.hidden=[4]", "optimizer.parts.shared.lr=0.001"
            )
        )


def test_fp16_without_a_gpu_is_refused() -> None:
    """Breaks if a run in fp16 fails in the middle of the first step."""
    with pytest.raises(ConfigError) as error:
        build(compose(*DATA, "trainer.device=cpu", "trainer.precision=fp16"))
    assert str(error.value) == (
        "trainer.precision=fp16 needs a GPU, and this run is on cpu; use bf16, which works everywhere."
    )


def test_float64_is_that_of_data_parameters_and_losses_and_leaves_the_dataset_alone() -> None:
    """Breaks if a part of the run stays single, or the next run gets data in double precision."""
    datasets: Datasets = {}
    config = compose(*DATA, "trainer.precision=float64", "trainer.device=cpu")
    experiment = build(config, datasets)
    split = experiment.data.splits["train"]
    assert isinstance(split, Split)
    learner = experiment.learner
    record = learner.step(split.rows(slice(0, 8)), Active.all(len(learner.likelihood.tasks)))
    assert {split.inputs.dtype, record.loss.dtype, record.weight.dtype} == {torch.float64}
    assert {p.dtype for p in learner.model.parameters()} == {torch.float64}
    (kept,) = datasets.values()
    assert kept.splits["train"].inputs.dtype == torch.float32


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("update.every=5",), "update.every=5 says how often gradients of single tasks are looked at, and neither update=joint nor the weighting Fixed does so; leave it out, or use update=jacobian, weighting=gradnorm or weighting=norm_balance."),
        (("weighting=mgda", "update.at=representation", "trainer.accumulate=2"), "update.at=representation needs the graph of the whole batch, without a scale, and whole parameters, which trainer.accumulate does not leave; lower data.batch_size, or update.at=parameters."),
        (("weighting=per_task_adam", "update.every=5"), "update.every is not an option of PerTask; allowed: gradients, groups."),
    ],
)  # fmt: skip
def test_an_option_of_the_update_that_the_run_does_not_allow(
    overrides: tuple[str, ...], sentence: str
) -> None:
    """Breaks if gradients are taken of a part of the batch, or an option does nothing."""
    with pytest.raises(ConfigError) as error:
        build(compose(*DATA, "weighting=fixed", *overrides))
    assert str(error.value) == sentence


def test_the_number_of_passes_says_what_holding_the_weights_saves() -> None:
    """Breaks if a comparison calls a method as costly as without update.every."""
    built = build(compose(*DATA, "weighting=mgda", "update.every=4"))
    assert built.learner.backward_passes == 1.25
    built = build(compose(*DATA, "weighting=gradnorm", "update.every=4"))
    assert built.learner.backward_passes == 1.5
