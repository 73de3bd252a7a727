"""The evaluation of a split with the models of all replicas at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from mtl_runner.data.dataset import Split
from mtl_runner.data.inputs import InputTensors
from mtl_runner.experiment.forward import ForwardPass
from mtl_runner.experiment.functional import pure
from mtl_runner.experiment.term_points import points_for_evaluation
from mtl_runner.likelihood import Likelihood
from mtl_runner.train.evaluation import (
    Evaluation,
    Evaluator,
    MeasurementKey,
    Measurements,
    make_evaluation,
)
from mtl_runner.train.stack.eligibility import in_memory
from mtl_runner.train.stack.stacked_split import StackedSplit
from mtl_runner.train.stack.stacked_step import cannot_stack_on_error
from mtl_runner.train.trainer import Trainer

# Rows times replicas that go through the model at once. On a CPU, larger tensors are new pages of
# memory at every evaluation, and smaller ones are more calls of ``vmap``.
CPU_ROWS, GPU_ROWS = 2**14, 2**24
MIN_REPLICAS = 8  # however many rows there are

StackedTensors = Mapping[str, Mapping[str, Tensor]]  # by part and name, [S, ...]


class StackedEvaluation:
    """Evaluates a split with the model of every replica, under ``vmap``.

    Args:
        trainers: The trainer of each replica.
        split: Name of the split.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from hydra import compose, initialize_config_dir
        >>> from mtl_runner.config.conf_directory import conf_directory
        >>> from mtl_runner.experiment.build import build
        >>> with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        ...     configs = [compose("config", ["name=a", f"seed={seed}"]) for seed in range(2)]
        >>> with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        ...     folders = Path(first), Path(second)
        ...     trainers = [Trainer(build(config), f) for config, f in zip(configs, folders)]
        >>> models = [dict(trainer.learner.model.named_parameters()) for trainer in trainers]
        >>> model = {name: torch.stack([m[name] for m in models]) for name in models[0]}
        >>> evaluation = StackedEvaluation(trainers, "val")
        >>> nothing = {"model": {}, "likelihood": {}}
        >>> stacked = evaluation({"model": model, "likelihood": {}}, nothing)
        >>> abs(stacked[1].relative_loss - trainers[1].measure("val").relative_loss) < 1e-6
        True
    """

    def __init__(self, trainers: Sequence[Trainer], split: str) -> None:
        self.learner, self.tasks = trainers[0].learner, trainers[0].tasks
        self.trivial_losses = [trainer.experiment.trivial_losses(split) for trainer in trainers]
        self.split = StackedSplit(
            [in_memory(trainer.experiment.data.splits[split]) for trainer in trainers]
        )
        self.evaluator = Evaluator(self.tasks, self.learner.likelihood)
        rows = GPU_ROWS if self.split.replicas.is_cuda else CPU_ROWS
        at_once = max(MIN_REPLICAS, rows // max(1, self.split.rows))
        parts = -(-len(trainers) // at_once)
        self.replicas_at_once = -(-len(trainers) // parts)
        data = None if self.split.shared else 0
        self._measure = vmap(self._measure_replica, in_dims=(0, 0, data, data))
        self.points = points_for_evaluation(self.tasks, self.split.replicas.device)
        self._keys: list[MeasurementKey] = []

    @torch.no_grad()
    def __call__(self, parameters: StackedTensors, constants: StackedTensors) -> list[Evaluation]:
        """Return the evaluation of every replica.

        Args:
            parameters: What is trained, by part and name, ``[S, ...]``.
            constants: The other tensors, by part and name, ``[S, ...]``.

        Raises:
            CannotStackError: If ``torch.func`` does not take the model.
        """
        inputs = InputTensors(self.split.inputs)
        numbers: list[list[float]] = []
        self.learner.model.eval()
        for start in range(0, len(self.trivial_losses), self.replicas_at_once):
            part = slice(start, start + self.replicas_at_once)
            data = {"inputs": inputs.tensors, "targets": self.split.targets}
            if not self.split.shared:
                data = _slice(data, part)
            with cannot_stack_on_error():
                measured = self._measure(
                    _slice(parameters, part),
                    _slice(constants, part),
                    data["inputs"],
                    data["targets"],
                )
            numbers += (
                measured.tolist()
                if isinstance(measured, Tensor)
                else self._compute_by_replica(*measured)
            )
        self.learner.model.train()
        return [
            make_evaluation(self._keys, row, losses)
            for row, losses in zip(numbers, self.trivial_losses, strict=True)
        ]

    def _measure_replica(
        self,
        parameters: Mapping[str, Mapping[str, Tensor]],
        constants: Mapping[str, Mapping[str, Tensor]],
        inputs: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
    ) -> Any:
        """Return the measurements of a replica, computed under ``vmap``."""
        model, likelihood = (
            {**parameters[part], **constants[part]} for part in ("model", "likelihood")
        )
        rows = Split(InputTensors(self.split.inputs).with_tensors(dict(inputs)), dict(targets))
        outputs, term_sums = pure(self.learner.forward_pass, self._outputs_and_terms)(
            {f"model.{name}": tensor for name, tensor in model.items()}, rows
        )
        measure_outputs = pure(self.learner.likelihood, self._measure_outputs)
        return measure_outputs(likelihood, outputs, targets, term_sums)

    def _outputs_and_terms(self, forward: ForwardPass, rows: Split) -> Any:
        """Return the outputs for all rows, and the sums of the loss terms that see the model."""
        evaluator = self.evaluator
        at_points = evaluator.measure_at_points(forward, self.points)
        terms = at_points | evaluator.measure_model_terms(forward, rows)
        return forward.outputs(rows.inputs), terms

    def _measure_outputs(
        self, likelihood: Likelihood, outputs: Any, targets: Any, term_sums: Any
    ) -> Any:
        """Return the numbers of a replica in one tensor.

        Where the numbers of rows need more than pure tensor code: the sums, and the rows and terms.
        """
        evaluator = Evaluator(self.tasks, likelihood)
        sums, rows = evaluator.measure_batch(outputs, targets, term_sums)
        terms = evaluator.measure_terms(outputs, targets)
        return (sums, rows | terms) if rows else self._as_row(evaluator.compute(sums, terms))

    def _compute_by_replica(
        self, sums: Measurements, rows_and_terms: Measurements
    ) -> list[list[float]]:
        """Return the numbers of every replica, from stacked sums, rows and terms ``[S, ...]``."""

        def of_replica(measurements: Measurements, k: int) -> Measurements:
            return {key: value[k] for key, value in measurements.items()}

        rows = [
            self._as_row(self.evaluator.compute(of_replica(sums, k), of_replica(rows_and_terms, k)))
            for k in range(len(next(iter(rows_and_terms.values()))))
        ]
        return torch.stack(rows).tolist()

    def _as_row(self, measurements: Measurements) -> Tensor:
        """Return measurements as one tensor, and keep their keys."""
        self._keys = list(measurements)
        return torch.stack([value.double() for value in measurements.values()])


def _slice(tensors: StackedTensors, part: slice) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of some replicas."""
    return {
        name: {key: tensor[part] for key, tensor in group.items()}
        for name, group in tensors.items()
    }
