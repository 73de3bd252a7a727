"""How a class is called: recognised, and read off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtl_runner.conform.interfaces import objective_of, recognise
from mtl_runner.conform.subject import Subject, load_subject
from mtl_runner.errors import ConfigError

HERE = "tests.unit.conform.implementations"
WEIGHTS = torch.tensor([1.0, 2.0, 3.0])


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    """Compute in float64, as the checks do."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def one_two_three(losses: Tensor) -> Tensor:
    """Return the losses weighed by 1, 2 and 3."""
    return WEIGHTS.to(losses) * losses


class ByMethod:
    """A weighting with a method of another name, which asks for the shared parameters."""

    def weighted(self, losses: list[Tensor], shared_params: list[nn.Parameter]) -> Tensor:
        assert len(shared_params) == 1
        return one_two_three(torch.stack(losses)).sum()


def of_list(losses: list[Tensor]) -> Tensor:
    """Return the objective of a list, and of nothing else."""
    assert isinstance(losses, list)
    return one_two_three(torch.stack(losses)).sum()


def by_name(losses: dict[str, Tensor]) -> Tensor:
    """Return the objective of losses by name."""
    return one_two_three(torch.stack(list(losses.values()))).sum()


def by_name_and_weight(losses: dict[str, Tensor], static: dict[str, float]) -> Tensor:
    """Return the objective of losses by name, with static weights."""
    return sum((i + 1) * static[n] * losses[n] for i, n in enumerate(losses))  # type: ignore[return-value]


CALLABLES: dict[str, tuple[Callable[..., Any], str, str]] = {
    "objective": (lambda losses: one_two_three(losses).sum(), "", "object(losses [T])"),
    "weighted losses": (one_two_three, "", "object(losses [T])"),
    "weights": (lambda losses: WEIGHTS.to(losses), "", "object(losses [T])"),
    "numbers": (lambda losses: [1.0, 2.0, 3.0], "", "object(losses [T])"),
    "objective and weights": (
        lambda losses: (one_two_three(losses).sum(), WEIGHTS),
        "",
        "object(losses [T])",
    ),
    "arguments": (lambda *losses: one_two_three(torch.stack(losses)).sum(), "", "object(T losses)"),
    "list": (of_list, "", "object(a list of T losses)"),
    "dict": (by_name, "", "object({task: loss})"),
    "dict and weights": (by_name_and_weight, "", "object({task: loss}, {task: 1.0})"),
    "method": (ByMethod, "weighted", "weighted(a list of T losses)"),
}


@pytest.mark.parametrize("name", CALLABLES)
def test_every_form_of_losses_gives_the_same_direction(name: str) -> None:
    """Breaks if a class is called in a form that it does not take, or its weights are misread."""
    target, method, text = CALLABLES[name]
    subject = Subject(f"here.{name}", target, {}, method)
    interface = recognise(subject, wants_rows=False)
    assert interface.text == text or (name == "method" and interface.text.startswith("weighted("))
    shared = nn.Parameter(torch.zeros(4))
    rows = torch.eye(3, 4)
    made = subject.make(3, shared)
    direction, _ = interface.direction(made, torch.tensor([5.0, 1.0, 2.0]), rows, shared)
    assert direction.tolist() == [1.0, 2.0, 3.0, 0.0]


@pytest.mark.parametrize(
    ("path", "wants_rows", "text"),
    [
        ("torchjd.aggregation.MGDA", True, "object(gradients [T, P])"),
        ("torchjd.aggregation.MGDAWeighting", True, "object(Gramian [T, T])"),
        ("torchjd.scalarization.UW", False, "object(losses [T])"),
        ("torchjd.scalarization.UW", True, "object(losses [T])"),
        (f"{HERE}.GradNorm", False, "backward(losses [T])"),
        (f"{HERE}.UncertaintyByArguments", False, "object(T losses)"),
        ("mtl_runner.weighting.FAMO", False, "weigh(losses [T]), with the norms, losses and "),
    ],
)
def test_a_class_is_recognised_by_what_it_takes(path: str, wants_rows: bool, text: str) -> None:
    """Breaks if an aggregator is taken for a weighting, or GradNorm's own backward is passed by."""
    if path.startswith("torchjd"):
        pytest.importorskip("torchjd")
    assert recognise(load_subject(path, {}), wants_rows).text.startswith(text)


@pytest.mark.parametrize(
    ("path", "start"),
    [
        (f"{HERE}.takes_nothing", f"{HERE}.takes_nothing takes neither losses nor gradients in a "),
        ("torch.nn.Embedding", "torch.nn.Embedding needs num_embeddings and embedding_dim; "),
    ],
)
def test_what_takes_nothing_known_is_refused(path: str, start: str) -> None:
    """Breaks if a class of another kind gets a card."""
    with pytest.raises(ConfigError) as error:
        recognise(load_subject(path, {}), wants_rows=False)
    text = str(error.value)
    assert text.startswith(start)
    if "takes_nothing" in path:
        assert text.endswith(
            "; name its method with --call NAME, or wrap it in a function of losses [T] or of gradients [T, P]."
        )


def test_numbers_without_a_loss_are_no_objective() -> None:
    """Breaks if a constant is taken for an objective."""
    losses = torch.ones(3, requires_grad=True)
    with pytest.raises(TypeError, match="returned 1 numbers that no loss has a part in"):
        objective_of(torch.tensor(1.0), losses)
