"""The run in miniature: what an object is inputs, and when."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mtl_runner.conform.interfaces import FORMS, OfLosses
from mtl_runner.conform.session import LR, Script, Session, random_rows, random_script, script
from mtl_runner.conform.subject import Subject


class Notes(nn.Module):
    """A weighting that notes its calls and trains one number."""

    calls: list[Any]

    def __init__(self) -> None:
        super().__init__()
        self.number = nn.Parameter(torch.zeros(()))
        self.calls = []

    def forward(self, losses: Tensor) -> Tensor:
        self.calls.append("forward")
        return losses.sum() * torch.exp(self.number)

    def update(self, after: Tensor) -> None:
        self.calls.append(("update", after.tolist()))

    def post_step(self, losses: Tensor) -> None:
        self.calls.append(("post_step", losses.tolist()))

    def step(self) -> None:
        self.calls.append("step")


def session_of(keeps_epochs: bool) -> Session:
    """Return a session of a weighting that notes its calls."""
    subject = Subject("here.Notes", Notes)
    return Session(subject, OfLosses("", FORMS[0]), tasks=2, keeps_epochs=keeps_epochs)


def test_every_step_tells_the_losses_before_and_after() -> None:
    """Breaks if an object learns of another batch, or of a step that was not."""
    session = session_of(keeps_epochs=False)
    session.run(script(torch.tensor([[1.0, 2.0]]), after=torch.tensor([[0.5, 1.0]])))
    assert session.target.calls == [
        "forward",
        ("update", [0.5, 1.0]),
        ("post_step", [1.0, 2.0]),
        "step",
    ]


def test_step_closes_an_epoch_where_the_method_keeps_epochs() -> None:
    """Breaks if a DWA is told of epochs that are single steps."""
    session = session_of(keeps_epochs=True)
    session.run(script(torch.ones(5, 2)), epoch=2)
    plain = [call for call in session.target.calls if isinstance(call, str)]
    assert plain == ["forward", "forward", "step", "forward", "forward", "step", "forward"]
    assert session.hooks[2] == "step() after every epoch"


def test_the_own_parameters_are_trained_by_adam() -> None:
    """Breaks if what an object learns stands still."""
    session = session_of(keeps_epochs=False)
    session.run(script(torch.ones(1, 2)))
    torch.testing.assert_close(session.target.number.item(), -LR, rtol=1e-5, atol=0)
    assert session.hooks[-1] == f"Adam of rate {LR} on its 1 own parameters"


def test_a_restored_session_goes_on_as_the_other() -> None:
    """Breaks if the state of the object or of its Adam is not carried over."""
    inputs = random_script(8, 2)
    first, second = session_of(False), session_of(False)
    first.run(inputs.part(0, 4))
    second.restore(first.state())
    steps = [session.run(inputs.part(4))[-1].direction for session in (first, second)]
    assert torch.equal(*steps)


def test_scripts_are_what_they_say() -> None:
    """Breaks if gradients, order or unit of a script are others than a check believes."""
    inputs = random_script(3, 3)
    norms = inputs.rows.norm(dim=2)
    products = inputs.rows @ inputs.rows.transpose(1, 2)
    torch.testing.assert_close(products, torch.diag_embed(norms.square()))
    permuted = inputs.permuted((2, 0, 1))
    assert torch.equal(permuted.losses[:, 0], inputs.losses[:, 2])
    assert torch.equal(permuted.rows[:, 0], inputs.rows[:, 2])
    scaled = inputs.scaled(torch.tensor([2.0, 1.0, 1.0]))
    assert torch.equal(scaled.rows[:, 0], 2 * inputs.rows[:, 0])
    assert torch.equal(scaled.after[:, 0], 2 * inputs.after[:, 0])
    assert isinstance(inputs.part(1), Script)
    assert len(inputs.part(1)) == 2


def test_random_gradients_conflict_in_every_other_step() -> None:
    """Breaks if an aggregator that never meets a conflict passes for one that solves it."""
    rows = random_rows(8, 3).rows
    cosines = torch.nn.functional.cosine_similarity(rows[::2, 0], rows[::2, 1], dim=1)
    assert (cosines < 0).all()
