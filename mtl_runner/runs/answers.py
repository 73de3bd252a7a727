"""The answers of a model as tensors and as columns of a table: values, probabilities, noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mtl_runner.data.inputs import Shape
from mtl_runner.likelihood import Likelihood
from mtl_runner.tasks.noise import sigma_unit
from mtl_runner.tasks.task import Task

PROBABILITY = ".probability"
# The noise scale of an answer, and the ends of its interval.
SIGMA, LOW, HIGH = ".sigma", ".low", ".high"
NAMED = 12  # so many columns or classes are named

Columns = dict[str, Any]


def answer_tensors(
    task: Task,
    outputs: Mapping[str, Tensor],
    likelihood: Likelihood,
    noise_scale: float | None = None,
    *,
    probabilities: bool = False,
    interval: float | None = None,
) -> dict[str, Tensor]:
    """Return the answer of a task, and what is known of how sure it is.

    Args:
        task: The task.
        outputs: The outputs of the model, with the log-variances that it predicts.
        likelihood: The likelihood, which divides logits by a temperature and knows a predicted
            noise scale.
        noise_scale: The learned noise scale, in the target's units; None: there is none.
        probabilities: Whether to return the probability of every class or label.
        interval: The share of the targets that an interval is to hold; None: no interval.

    Returns:
        Tensors by name: ``<task>`` in the target's units, ``<task>.probability`` ``[N, classes,
        ...]``, and for numbers with a noise scale ``<task>.sigma``, ``<task>.low`` and
        ``<task>.high`` ``[N, size, ...]``.

    Example:
        >>> import torch
        >>> from mtl_runner.likelihood import Standard
        >>> task = Task("price", size=1, offset=100.0, scale=10.0)
        >>> outputs = {"price": torch.zeros(1, 1)}
        >>> answers = answer_tensors(task, outputs, Standard([task]), 5.0, interval=0.95)
        >>> {name: round(answer.item(), 1) for name, answer in answers.items()}
        {'price': 100.0, 'price.sigma': 5.0, 'price.low': 90.2, 'price.high': 109.8}
    """
    output = likelihood.tempered_outputs(outputs)[task.name]
    answers = {task.name: task.answer(output)}
    if probabilities and (shares := task.probabilities(output)) is not None:
        answers[f"{task.name}{PROBABILITY}"] = shares
    if interval is None or not task.has_noise_scale:
        return answers
    sigma = sigma_tensor(task, outputs, likelihood, noise_scale)
    if sigma is not None:
        half = task.spec.noise.half_width(interval) * sigma / sigma_unit(task)
        answers[f"{task.name}{SIGMA}"] = sigma.expand_as(output)
        answers[f"{task.name}{LOW}"] = task.answer(output - half)
        answers[f"{task.name}{HIGH}"] = task.answer(output + half)
    return answers


def sigma_tensor(
    task: Task,
    outputs: Mapping[str, Tensor],
    likelihood: Likelihood,
    noise_scale: float | None,
) -> Tensor | None:
    """Return the predicted noise scale of every row, or else the learned one, ``[N, 1, ...]``.

    Args:
        task: The task.
        outputs: The outputs of the model.
        likelihood: The likelihood.
        noise_scale: The learned noise scale; None: there is none.
    """
    predicted = likelihood.predicted_sigma(task, outputs)
    if predicted is not None or noise_scale is None:
        return predicted
    output = outputs[task.name]
    # Without `len`, of which an exported program would make a constant.
    scales = torch.full_like(output.flatten(1)[:, :1], noise_scale)
    return scales.reshape(-1, *(1,) * (output.dim() - 1))


def answer_columns(task: Task, answers: Mapping[str, Tensor]) -> Columns:
    """Return the answers of a task as columns of a table, by name.

    Args:
        task: A task without places: one answer per row.
        answers: The result of :func:`answer_tensors`.

    Example:
        >>> import torch
        >>> task = Task("sort", "classification", classes=("cat", "dog"))
        >>> shares = torch.tensor([[0.25, 0.75]])
        >>> list(answer_columns(task, {"sort": torch.tensor([1]), "sort.probability": shares}))
        ['sort', 'sort.probability.cat', 'sort.probability.dog']
    """
    columns: Columns = task.spec.columns(answers[task.name], task)
    names = list(columns)
    for suffix in (SIGMA, LOW, HIGH):
        if f"{task.name}{suffix}" in answers:
            columns |= suffixed(task, names, suffix, answers[f"{task.name}{suffix}"])
    shares = answers.get(f"{task.name}{PROBABILITY}")
    if shares is not None:
        classes = task.classes or range(shares.shape[1])
        prefix = f"{task.name}{PROBABILITY}"
        columns |= {
            f"{prefix}.{name}": column
            for name, column in zip(classes, shares.cpu().numpy().T, strict=True)
        }
    return columns


def suffixed(task: Task, names: Sequence[str], suffix: str, values: Tensor) -> Columns:
    """Return a tensor ``[N]`` or ``[N, ...]`` as columns beside those of the answer.

    Args:
        task: The task.
        names: The columns of its answer.
        suffix: The end of the names of the new columns.
        values: The values; one column for each of ``names``, or another number of them.

    Example:
        >>> import torch
        >>> list(suffixed(Task("a"), ["a.x", "a.y"], ".sigma", torch.tensor([[1.0, 2.0]])))
        ['a.x.sigma', 'a.y.sigma']
    """
    flat = values.cpu().reshape(len(values), -1).numpy()
    count = flat.shape[1]
    if count != len(names):
        names = [task.name] if count == 1 else [f"{task.name}.{i}" for i in range(count)]
    return {f"{name}{suffix}": column for name, column in zip(names, flat.T, strict=True)}


def has_probabilities(task: Task) -> bool:
    """Return whether the answers of a task are classes or labels with a probability each.

    Example:
        >>> has_probabilities(Task("a", size=1)), has_probabilities(Task("b", "multilabel", size=2))
        (False, True)
    """
    return task.probabilities(torch.zeros(1, max(1, task.size))) is not None


def describe_answer(task: Task) -> str:
    """Return in words what a task answers with.

    Example:
        >>> describe_answer(Task("sort", "classification", classes=("cat", "dog")))
        'classification of cat, dog'
    """
    names = [*task.classes[:NAMED], *(["..."] if len(task.classes) > NAMED else [])]
    size = f" of {', '.join(names) or task.size}" if names or task.size > 1 else ""
    return f"{task.spec.name}{size}{', per pixel' if task.places else ''}"


def shape_text(shape: Shape | None) -> str:
    """Return the shape of a model's inputs in words, ``N`` for the rows.

    Example:
        >>> shape_text((3, 32, 32)), shape_text({"a": (2,), "b": ()})
        ('[N, 3, 32, 32]', 'a [N, 2], b [N]')
    """
    if shape is None:
        return "as the model takes them"
    if isinstance(shape, dict):
        return ", ".join(f"{name} {shape_text(sizes)}" for name, sizes in shape.items())
    return f"[{', '.join(['N', *map(str, shape)])}]"
