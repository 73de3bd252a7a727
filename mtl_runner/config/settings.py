"""The scalars of the config that the trainer itself reads, checked once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mtl_runner.errors import ConfigError, suggest
from mtl_runner.errors.checks import flag, positive

MOST_EVALUATIONS = 200
FEW = 4  # replicas that are hardly slower one after another
COMPILE_STACK, COMPILE_SINGLE = 2000, 100_000  # steps


@dataclass(frozen=True)
class Settings:
    """``trainer.*``, ``record.*``, ``seed``, ``share`` and ``data.batch_size`` with their types and ranges checked."""

    seed: int
    share: bool
    batch_size: int  # 0: not known before the data are
    epochs: int
    device: str
    threads: str | int
    evaluate_every: int
    monitor: str
    patience: int | None
    clip: float | None
    lr_scheduler: Mapping[str, Any] | None
    plots: str
    gradients: bool
    predictions: bool
    debug: bool
    compile: bool | str

    @classmethod
    def read(cls, cfg: Mapping[str, Any]) -> Settings:
        """Read a plain config. Raises ``ConfigError`` naming the key, what it holds and what it may hold."""
        trainer, record, debug = dict(cfg["trainer"]), dict(cfg["record"]), bool(cfg.get("debug", False))
        epochs = _integer(trainer.pop("epochs"), "trainer.epochs", 1)
        epochs = min(epochs, 2) if debug else epochs
        every = trainer.pop("evaluate_every")
        batch_size = cfg["data"]["batch_size"]
        patience = trainer.pop("patience")
        clip = trainer.pop("clip")
        threads = trainer.pop("threads")
        compiled = trainer.pop("compile")
        settings = cls(
            seed=_integer(cfg["seed"], "seed", 0),
            share=flag(cfg["share"], "share"),
            batch_size=0 if batch_size == "auto" else _integer(batch_size, "data.batch_size", 1),
            epochs=epochs,
            device=str(trainer.pop("device")),
            threads=threads if threads == "auto" else _integer(threads, "trainer.threads", 1),
            evaluate_every=-(-epochs // MOST_EVALUATIONS) if every is None else _integer(every, "trainer.evaluate_every", 1),
            monitor=str(trainer.pop("monitor")),
            patience=None if patience is None else _integer(patience, "trainer.patience", 1),
            clip=None if clip is None else positive(clip, "trainer.clip"),
            lr_scheduler=_lr_scheduler(trainer.pop("lr_scheduler"), epochs),
            plots=_choice(record.pop("plots"), "record.plots", ("all", "best", "none")),
            gradients=flag(record.pop("gradients"), "record.gradients"),
            predictions=flag(record.pop("predictions"), "record.predictions"),
            debug=debug,
            compile=compiled if isinstance(compiled, bool) else _choice(compiled, "trainer.compile", ("auto", "true", "false")),
        )
        for key, rest, known in (("trainer", trainer, cfg["trainer"]), ("record", record, cfg["record"])):
            for name in rest:
                raise ConfigError(f"{key}.{name} is unknown; {suggest(name, set(known) - set(rest))}.")
        return settings

    def for_rows(self, rows: int) -> Settings:
        """With ``data.batch_size=auto`` worked out: about a hundredth of the training rows, a power of two from 32 to 1024."""
        if self.batch_size:
            return self
        return replace(self, batch_size=min(1024, max(32, 2 ** round(math.log2(rows / 100)))))

    def compiles(self, replicas: int, steps: int) -> bool:
        """Whether a run, or a stack of so many, of so many steps is compiled.

        ``auto`` knows what a compilation costs (3 to 25 s, by the warmth of its cache) and saves (about 3 ms a step of a stack, a
        tenth of a millisecond of a single run), and decides by that, not by measuring: a repeated run takes the same path.
        """
        if isinstance(self.compile, bool):
            return self.compile
        return steps >= (COMPILE_SINGLE if replicas < FEW else COMPILE_STACK)

    def evaluates(self, epoch: int) -> bool:
        """Whether epoch (counted from 1) is evaluated: the first, the last and evenly spaced ones."""
        return epoch in (1, self.epochs) or epoch % self.evaluate_every == 0


def _integer(value: Any, key: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{key} must be a whole number of at least {least}; found {value!r}.")
    return value


def _lr_scheduler(value: Any, epochs: int) -> Mapping[str, Any] | None:
    if value is None or isinstance(value, Mapping):
        return value
    if value != "cosine":
        raise ConfigError(
            f"trainer.lr_scheduler={value!r} is unknown; use cosine, null, or {{_target_: torch.optim.lr_scheduler...}}."
        )
    return {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": epochs}


def _choice(value: Any, key: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ConfigError(f"{key}={value!r} is unknown; allowed: {', '.join(allowed)}.")
    return str(value)
