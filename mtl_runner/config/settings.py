"""The scalars of the config that the trainer itself reads, checked once.

``trainer`` and ``record`` are made like every other group; their signatures are the home of the defaults.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mtl_runner.config.instantiate import make
from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import choice, flag, positive, whole

MOST_EVALUATIONS = 200
DEBUG_EPOCHS = 2
FEW = 4  # replicas that are hardly slower one after another
COMPILE_STACK, COMPILE_SINGLE = 2000, 100_000  # steps


@dataclass(frozen=True)
class TrainerOptions:
    """``trainer``: how long and on what to train; the meaning of each stands in ``conf/trainer/default.yaml``.

    Raises:
        ConfigError: For a value outside its type or range.
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
        whole(self.epochs, "trainer.epochs", 1)
        if self.threads != "auto":
            whole(self.threads, "trainer.threads", 1)
        if self.evaluate_every is not None:
            whole(self.evaluate_every, "trainer.evaluate_every", 1)
        if self.patience is not None:
            whole(self.patience, "trainer.patience", 1)
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
        """What makes the learning-rate scheduler of an optimizer; None for a constant rate."""
        if self.lr_scheduler == "cosine":
            return {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": self.epochs}
        return self.lr_scheduler  # type: ignore[return-value]  # checked above

    def compiles(self, replicas: int, steps: int) -> bool:
        """Whether a run, or a stack of so many, of so many steps is compiled.

        ``auto`` knows what a compilation costs (3 to 25 s, by the warmth of its cache) and saves (about 3 ms a step of a stack, a
        tenth of a millisecond of a single run), and decides by that, not by measuring: a repeated run takes the same path.
        """
        if isinstance(self.compile, bool):
            return self.compile
        return steps >= (COMPILE_SINGLE if replicas < FEW else COMPILE_STACK)

    def evaluates(self, epoch: int) -> bool:
        """Whether an epoch (counted from 1) is evaluated: the first, the last and evenly spaced ones."""
        every = self.evaluate_every or -(-self.epochs // MOST_EVALUATIONS)
        return epoch in (1, self.epochs) or epoch % every == 0


@dataclass(frozen=True)
class RecordOptions:
    """``record``: what is written down beside the usual; the meaning of each stands in ``conf/config.yaml``.

    Raises:
        ConfigError: For a value that is none of those.
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
    """What of the config belongs to no object: ``trainer``, ``record``, ``seed``, ``share``, ``data.batch_size`` and ``debug``."""

    trainer: TrainerOptions
    record: RecordOptions
    seed: int = 0
    share: bool = True
    batch_size: int = 0  # 0: not known before the data are
    debug: bool = False

    @classmethod
    def read(cls, cfg: Mapping[str, Any]) -> Settings:
        """Read a plain config. Raises ``ConfigError`` naming the key, what it holds and what it may hold."""
        debug = bool(cfg.get("debug", False))
        trainer: TrainerOptions = _options(TrainerOptions, cfg["trainer"], "trainer")
        batch_size = cfg["data"]["batch_size"]
        return cls(
            trainer=replace(trainer, epochs=min(trainer.epochs, DEBUG_EPOCHS))
            if debug
            else trainer,
            record=_options(RecordOptions, cfg["record"], "record"),
            seed=whole(cfg["seed"], "seed", 0),
            share=flag(cfg["share"], "share"),
            batch_size=0 if batch_size == "auto" else whole(batch_size, "data.batch_size", 1),
            debug=debug,
        )

    def for_rows(self, rows: int) -> Settings:
        """With ``data.batch_size=auto`` worked out: about a hundredth of the training rows, a power of two from 32 to 1024."""
        if self.batch_size:
            return self
        return replace(self, batch_size=min(1024, max(32, 2 ** round(math.log2(rows / 100)))))


def _options(kind: type, node: Mapping[str, Any], key: str) -> Any:
    return make(
        {"_target_": f"{kind.__module__}.{kind.__qualname__}", "_recursive_": False, **node}, key
    )
