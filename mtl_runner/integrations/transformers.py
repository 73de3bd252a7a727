"""A ``transformers.Trainer`` for several losses, weighed by any of our weightings."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mtl_runner.config.extras import import_extra
from mtl_runner.errors import ConfigError, suggest
from mtl_runner.integrations.loop_weighting import LoopWeighting
from mtl_runner.runs.recorder import Recorder
from mtl_runner.tasks.protocols import HasSigmas
from mtl_runner.tasks.task import Task
from mtl_runner.weighting import Weighting

WEIGHTING_FILE = "weighting.pt"


@functools.cache
def trainer_class() -> Any:
    """Return the class ``MultiTaskTrainer``.

    Raises:
        ConfigError: If ``transformers`` is not installed.
    """
    transformers = import_extra("transformers", "hf", "MultiTaskTrainer")

    callback_base: Any = transformers.TrainerCallback
    trainer_base: Any = transformers.Trainer

    class WeightingCallback(callback_base):  # type: ignore[misc]
        """Calls the weighting where our own loop does, and keeps it beside the checkpoints."""

        def __init__(self, trainer: Any) -> None:
            self.trainer = trainer

        def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.trainer.loop.begin_epoch((state.epoch or 0) / state.num_train_epochs)

        def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.trainer.loop.after_update(self.trainer.last_losses_again)

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            if folder.is_dir():
                torch.save(self.trainer.loop.state_dict(), folder / WEIGHTING_FILE)

    class MultiTaskTrainer(trainer_base):  # type: ignore[misc]
        """Train a model with several losses.

        The model returns ``{task: output}``; the batches hold, beside its arguments, a column with
        the target of every task under the task's name. Each loss and each weight is logged
        (``loss_<task>``, ``weight_<task>``), and the training loss is the weighting's objective.
        With gradient accumulation every part of a batch gets weights of its own.

        Args:
            *arguments: Those of ``transformers.Trainer``.
            tasks: The tasks.
            weighting: The weighting.
            recorder: Writes a run directory: evaluations are its ``"val"``, and ``predict`` on
                labelled data its ``"test"``; ``recorder.finish()`` ends it. None for no record.
            **options: More arguments of ``transformers.Trainer``.

        Raises:
            ConfigError: If the model or a batch lacks a task.
        """

        def __init__(
            self,
            *arguments: Any,
            tasks: Sequence[Task],
            weighting: Weighting,
            recorder: Recorder | None = None,
            **options: Any,
        ) -> None:
            super().__init__(*arguments, **options)
            self.tasks, self.recorder = list(tasks), recorder
            self.label_names = [task.name for task in tasks]
            # The objective is a mean over the batch.
            self.model_accepts_loss_kwargs = False
            self.loop = LoopWeighting(weighting.to(self.args.device), self.args.learning_rate)
            self.split = "val"
            self.last_inputs: Mapping[str, Any] = {}
            self.sums: list[Tensor] = []
            self.add_callback(WeightingCallback(self))

        def compute_loss(
            self,
            model: nn.Module,
            inputs: Mapping[str, Any],
            return_outputs: bool = False,
            num_items_in_batch: Any = None,
        ) -> Any:
            """Return the weighting's objective of a batch, and the outputs if they are wanted."""
            outputs, targets = self._outputs(model, inputs)
            losses = [task.loss(outputs, targets) for task in self.tasks]
            if model.training:
                self.last_inputs = inputs
                loss = self.loop.loss(model, losses)
                self.sums.append(torch.stack([self.loop.losses, self.loop.weights]))
                if self.recorder is not None:
                    self.recorder.log(
                        losses=self.loop.losses, weights=self.loop.weights, objective=loss.detach()
                    )
            else:
                loss = self.loop.weighting(torch.stack(losses))
                self._record(outputs, targets)
            return (loss, dict(outputs)) if return_outputs else loss

        def _outputs(
            self, model: nn.Module, inputs: Mapping[str, Any]
        ) -> tuple[Mapping[str, Tensor], dict[str, Tensor]]:
            """Return outputs and targets of a batch by task."""
            targets: dict[str, Tensor] = {}
            for task in self.tasks:
                if task.has_target:
                    if task.name not in inputs:
                        raise ConfigError(
                            f"The batch has no column {task.name!r} with the target of this task; {suggest(task.name, inputs)}."
                        )
                    targets[task.name] = task.spec.clean(inputs[task.name], None, "in the batch")
            arguments = {key: value for key, value in inputs.items() if key not in targets}
            outputs = model(**arguments)
            for name in targets:
                if not isinstance(outputs, Mapping) or name not in outputs:
                    raise ConfigError(
                        f"The model must return {{task: output}}, and the output of {name!r} is not there."
                    )
            return outputs, targets

        def last_losses_again(self) -> list[Tensor]:
            """Return the losses of the last training batch with the parameters as they are now."""
            outputs, targets = self._outputs(self.model, self.last_inputs)
            return [task.loss(outputs, targets) for task in self.tasks]

        def _record(self, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> None:
            """Record a batch of an evaluation."""
            if self.recorder is None:
                return
            gather = self.accelerator.gather_for_metrics
            names = list(targets)
            self.recorder.log(
                self.split,
                outputs={name: gather(outputs[name].detach()) for name in names},
                targets={name: gather(targets[name]) for name in names},
                epoch=self.state.epoch,
                step=self.state.global_step,
                sigmas=self._sigmas(),
            )

        def _sigmas(self) -> list[float | None] | None:
            weighting = self.loop.weighting
            return weighting.sigmas() if isinstance(weighting, HasSigmas) else None

        def evaluation_loop(self, *arguments: Any, **options: Any) -> Any:
            """Evaluate; what ``predict`` looks at is the test split of the record."""
            prefix = options.get("metric_key_prefix") or (
                arguments[4] if len(arguments) > 4 else "eval"
            )
            self.split = "test" if prefix == "test" else "val"
            return super().evaluation_loop(*arguments, **options)

        def log(self, logs: dict[str, float], *arguments: Any, **options: Any) -> None:
            """Log the mean loss and weight of every task beside the training loss."""
            if "loss" in logs and self.sums:
                losses, weights = torch.stack(self.sums).mean(0).tolist()
                self.sums = []
                for task, loss, weight in zip(self.tasks, losses, weights, strict=True):
                    logs |= {f"loss_{task.name}": loss, f"weight_{task.name}": weight}
            super().log(logs, *arguments, **options)

        def train(self, resume_from_checkpoint: Any = None, **options: Any) -> Any:
            """Train, or go on from a checkpoint, with the weighting as it was."""
            folder = resume_from_checkpoint
            if folder is True:
                folder = transformers.trainer_utils.get_last_checkpoint(self.args.output_dir)
            path = Path(str(folder)) / WEIGHTING_FILE
            if folder and path.is_file():
                self.loop.load_state_dict(torch.load(path, weights_only=True))
            return super().train(resume_from_checkpoint=resume_from_checkpoint, **options)

    return MultiTaskTrainer
