"""The forward pass: losses, eval mode, recomputed losses, and the same pass as a function."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mtl_runner.experiment.forward import ForwardPass, split_outputs
from mtl_runner.likelihood import Homoscedastic, Standard
from tests.support.builders import (
    INPUTS,
    assert_near,
    assert_same_bits,
    copy_state,
    make_mlp,
    make_split,
    make_tasks,
)

pytestmark = pytest.mark.usefixtures("float64")

KINDS = {"a": "regression", "b": "regression_l1"}


class Noisy(nn.Module):
    """Dropout and BatchNorm before one head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.head = nn.BatchNorm1d(INPUTS), nn.Linear(INPUTS, 2)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return {"a": self.head(nn.functional.dropout(self.norm(inputs), 0.5, self.training))}


def test_recomputed_losses_see_the_same_noise_and_leave_no_trace() -> None:
    """Breaks if FAMO compares losses under other dropout masks, or a batch counts twice."""
    tasks = make_tasks(a="regression")
    split, model = make_split(tasks), Noisy()
    forward_pass = ForwardPass(model, Standard(tasks))
    result = forward_pass.of_batch(split, recompute=True)
    buffers, random = copy_state(dict(model.named_buffers())), torch.get_rng_state()
    assert result.recompute is not None
    again = torch.stack(result.recompute())
    assert_same_bits(again.detach(), result.values)
    assert_same_bits(copy_state(dict(model.named_buffers())), buffers)
    assert_same_bits(torch.get_rng_state(), random)
    with torch.no_grad():
        model.head.weight.mul_(2)
    assert (torch.stack(result.recompute()) != result.values).all()


def test_losses_are_recomputed_only_where_that_was_asked_for() -> None:
    """Breaks if every step copies random states and buffers."""
    tasks = make_tasks(a="regression")
    assert ForwardPass(Noisy(), Standard(tasks)).of_batch(make_split(tasks)).recompute is None


def test_a_likelihood_with_noise_has_standard_losses_beside_its_own() -> None:
    """Breaks if runs with different likelihoods are compared by different losses."""
    tasks = make_tasks(**KINDS)
    split, model = make_split(tasks), make_mlp(tasks)
    plain = ForwardPass(model, Standard(tasks))(split.inputs, split.targets)
    noisy = ForwardPass(model, Homoscedastic(tasks, init=0.5))(split.inputs, split.targets)
    assert_near(noisy.standard, plain.standard, 1e-12)
    assert plain.nll is None
    assert plain.values is plain.standard
    assert noisy.nll is not None
    assert (noisy.values != noisy.standard).any()


def test_evaluation_switches_training_off_for_a_while() -> None:
    """Breaks if an evaluation leaves the model in eval mode, or BatchNorm learns from it."""
    tasks = make_tasks(a="regression")
    forward_pass = ForwardPass(Noisy(), Standard(tasks))
    with forward_pass.evaluating():
        assert not forward_pass.model.training
        assert not torch.is_grad_enabled()
    assert forward_pass.model.training
    forward_pass.model.eval()
    with forward_pass.evaluating():
        pass
    assert not forward_pass.model.training


@pytest.mark.parametrize("rows", [7, 1000])
def test_outputs_of_a_split_do_not_depend_on_the_rows_at_a_time(rows: int) -> None:
    """Breaks if the last rows of a split are lost, or dropout is on."""
    tasks = make_tasks(a="regression")
    split = make_split(tasks)
    forward_pass = ForwardPass(Noisy(), Standard(tasks))
    outputs = split_outputs(forward_pass, split, rows)
    with forward_pass.evaluating():
        assert_near(outputs["a"], forward_pass.outputs(split.inputs)["a"], 1e-14)


def test_the_pass_as_a_function_is_the_pass() -> None:
    """Breaks if a stack of replicas trains other losses than a single run."""
    tasks = make_tasks(**KINDS)
    split, model, likelihood = make_split(tasks), make_mlp(tasks), Homoscedastic(tasks, init=0.5)
    forward_pass = ForwardPass(model, likelihood)
    expected = forward_pass(split.inputs, split.targets)
    losses, measured = forward_pass.pure()(
        dict(model.named_parameters()),
        dict(likelihood.named_parameters()) | dict(likelihood.named_buffers()),
        (split.inputs, split.targets, {}),
    )
    assert_near(losses.detach(), expected.values, 1e-14)
    assert_near(measured["standard"], expected.standard, 1e-14)
    assert_near(measured["nll"].detach(), expected.nll.detach(), 1e-14)


def test_in_half_precision_the_model_alone_computes_in_it() -> None:
    """Breaks if losses are rounded to three digits, or the repeated pass is another one."""
    tasks = make_tasks(a="regression", b="regression_l1")
    split, model = make_split(tasks), make_mlp(tasks).float()
    split = split.apply(lambda t: t.float() if t.is_floating_point() else t)
    precise = ForwardPass(model, Standard(tasks)).of_batch(split)
    rounded = ForwardPass(model, Standard(tasks), "bf16").of_batch(split, recompute=True)
    assert {o.dtype for o in rounded.outputs.values()} == {torch.float32}
    assert rounded.values.dtype == torch.float32
    assert (rounded.values != precise.values).all()
    assert_near(rounded.values, precise.values, 0.02 * precise.values.max().item())
    assert rounded.recompute is not None
    assert_same_bits(torch.stack(list(rounded.recompute())).detach(), rounded.values)


def test_inputs_of_a_model_in_double_precision_may_be_single() -> None:
    """Breaks if pictures, which make their own inputs, fail under trainer.precision=float64."""
    tasks = make_tasks(a="regression")
    forward_pass = ForwardPass(make_mlp(tasks), Standard(tasks), "float64")
    outputs = forward_pass.outputs(torch.ones(2, INPUTS, dtype=torch.float32))
    assert outputs["a"].dtype == torch.float64
