"""The plain values of the config that the trainer itself reads, checked once.

The groups ``trainer`` and ``record`` are instantiated like all others, so the signatures of
:class:`TrainerOptions` and :class:`RecordOptions` define the defaults.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mtl_runner.config.instantiate import make
from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import choice, flag, mapping, positive, whole_number

MAX_EVALUATIONS = 200
MAX_THREADS = 4096
DEBUG_EPOCHS = 2
# A stack of fewer replicas saves little over one run after another.
MIN_STACK = 4
# From this number of steps on a compilation pays.
MIN_STEPS_TO_COMPILE_STACK = 2000
MIN_STEPS_TO_COMPILE_RUN = 100_000


@dataclass(frozen=True)
class TrainerOptions:
    """Options of the config's ``trainer``: how long to train, on which device, and what to watch.

    Args:
        epochs: Number of passes over the training split.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ... as torch names devices.
        threads: Number of CPU threads, or ``"auto"``.
        evaluate_every: Epochs between evaluations; None evaluates at most 200 times.
        monitor: The number by which the best epoch is chosen: ``relative_loss``, or
            ``<task>.<metric>``.
        patience: Evaluations without a better monitor after which the run stops; None: never.
        clip: Largest norm of the gradient; None does not clip.
        lr_scheduler: ``"cosine"``, None for a constant rate, or a node with ``_target_``.
        compile: True, False, or ``"auto"``: where the number of steps makes it pay.

    Raises:
        ConfigError: If a value has the wrong type or lies outside its range.

    Example:
        >>> options = TrainerOptions(epochs=1000)
        >>> [epoch for epoch in range(1, 1001) if options.should_evaluate(epoch)][:4]
        [1, 5, 10, 15]
    """

    epochs: int = 100
    device: str = "auto"
    threads: str | int = "auto"
    evaluate_every: int | None = None
    monitor: str = "relative_loss"
    patience: int | None = None
    clip: float | None = None
    lr_scheduler: str | Mapping[str, Any] | None = "cosine"
    compile: bool | str = "auto"

    def __post_init__(self) -> None:
        whole_number(self.epochs, "trainer.epochs", 1)
        if self.threads != "auto":
            whole_number(self.threads, "trainer.threads", 1)
            if int(self.threads) > MAX_THREADS:
                raise ConfigError(
                    f"trainer.threads must be at most {MAX_THREADS}; found {self.threads}."
                )
        if self.evaluate_every is not None:
            whole_number(self.evaluate_every, "trainer.evaluate_every", 1)
        if self.patience is not None:
            whole_number(self.patience, "trainer.patience", 1)
        if self.clip is not None:
            object.__setattr__(self, "clip", positive(self.clip, "trainer.clip"))
        if isinstance(self.lr_scheduler, str) and self.lr_scheduler != "cosine":
            raise ConfigError(
                f"trainer.lr_scheduler={self.lr_scheduler!r} is unknown; use cosine, null, or {{_target_: torch.optim.lr_scheduler...}}."
            )
        if not isinstance(self.compile, bool):
            choice(self.compile, "trainer.compile", ("auto", "true", "false"))

    @property
    def scheduler_node(self) -> Mapping[str, Any] | None:
        """The config node of the learning-rate scheduler; None for a constant rate."""
        if self.lr_scheduler == "cosine":
            return {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": self.epochs}
        assert not isinstance(self.lr_scheduler, str)
        return self.lr_scheduler

    def should_compile(self, replicas: int, steps: int) -> bool:
        """Return whether the training step is compiled.

        ``auto`` compares what a compilation costs (3 s with a warm cache, up to 25 s without) with
        what it saves (about 3 ms per step of a stack, 0.1 ms per step of a single run). It decides
        by the number of steps and not by measured time, so that a repeated run does the same.

        Args:
            replicas: Number of runs that are trained as one stack; 1 for a single run.
            steps: Number of steps of the run.
        """
        if isinstance(self.compile, bool):
            return self.compile
        return steps >= (
            MIN_STEPS_TO_COMPILE_RUN if replicas < MIN_STACK else MIN_STEPS_TO_COMPILE_STACK
        )

    def should_evaluate(self, epoch: int) -> bool:
        """Return whether an epoch, counted from 1, is evaluated: first, last, and every n-th."""
        every = self.evaluate_every or -(-self.epochs // MAX_EVALUATIONS)
        return epoch in (1, self.epochs) or epoch % every == 0


@dataclass(frozen=True)
class RecordOptions:
    """Options of the config's ``record``: which files a run writes beside the usual ones.

    Args:
        plots: ``"all"``: pictures of every run; ``"best"``: of the best run of each strategy in a
            sweep; ``"none"``.
        gradients: Whether to record the norms and conflicts of the tasks' gradients.
        predictions: Whether to write ``predictions.csv``.

    Raises:
        ConfigError: If a value is not allowed.

    Example:
        >>> RecordOptions(plots="none").predictions
        False
    """

    plots: str = "all"
    gradients: bool = False
    predictions: bool = False

    def __post_init__(self) -> None:
        choice(self.plots, "record.plots", ("all", "best", "none"))
        flag(self.gradients, "record.gradients")
        flag(self.predictions, "record.predictions")


@dataclass(frozen=True)
class Settings:
    """The values of the config that belong to no object of the experiment.

    Attributes:
        trainer: The options of ``trainer``.
        record: The options of ``record``.
        seed: Seed of initial weights, batch order and noise.
        share: Whether the tasks share a model; False gives every task a copy of its own.
        batch_size: Rows of a batch; 0 until :meth:`with_batch_size_for` has chosen it.
        debug: Whether the run is cut short to find mistakes quickly (``+debug=true``).
    """

    trainer: TrainerOptions
    record: RecordOptions
    seed: int = 0
    share: bool = True
    batch_size: int = 0
    debug: bool = False

    @classmethod
    def read(cls, cfg: Mapping[str, Any]) -> Settings:
        """Read the settings from a composed config.

        Args:
            cfg: The config as plain mappings and values.

        Raises:
            ConfigError: If a value is not allowed; the text names its key.
        """
        debug = flag(cfg.get("debug", False), "debug")
        trainer: TrainerOptions = _options(TrainerOptions, cfg["trainer"], "trainer")
        if debug:
            trainer = replace(trainer, epochs=min(trainer.epochs, DEBUG_EPOCHS))
        batch_size = cfg["data"].get("batch_size", "auto")
        return cls(
            trainer=trainer,
            record=_options(RecordOptions, cfg["record"], "record"),
            seed=whole_number(cfg["seed"], "seed", 0),
            share=flag(cfg["share"], "share"),
            batch_size=0
            if batch_size == "auto"
            else whole_number(batch_size, "data.batch_size", 1),
            debug=debug,
        )

    def with_batch_size_for(self, rows: int) -> Settings:
        """Return the settings with ``data.batch_size=auto`` replaced by a number.

        The number is a power of two from 32 to 1024, near a hundredth of the training rows.

        Args:
            rows: Number of rows of the training split.

        Example:
            >>> Settings(TrainerOptions(), RecordOptions()).with_batch_size_for(10_000).batch_size
            128
        """
        if self.batch_size:
            return self
        return replace(self, batch_size=min(1024, max(32, 2 ** round(math.log2(rows / 100)))))


def _options(options_class: type, node: Mapping[str, Any], key: str) -> Any:
    """Return the options of a group; its nested nodes stay as they are."""
    mapping(node, key, "{option: value}")
    path = f"{options_class.__module__}.{options_class.__qualname__}"
    return make({"_target_": path, "_recursive_": False, **node}, key)
