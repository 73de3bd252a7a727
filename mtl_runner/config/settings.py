"""The plain values of the config that the trainer itself reads, checked once.

The groups ``trainer`` and ``record`` are instantiated like all others, so the signatures of
:class:`TrainerOptions` and :class:`RecordOptions` define the defaults.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mtl_runner.config.instantiate import make
from mtl_runner.config.kept_files import KEPT_FILES
from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import (
    choice,
    flag,
    fraction,
    is_number,
    mapping,
    positive,
    whole_number,
)

MAX_THREADS = 4096
MAX_WORKERS = 1024
MAX_DEVICES = 1024
DEBUG_EPOCHS = 2
# trainer.epochs=auto: as many epochs as make so many steps, within these bounds.
AUTO_STEPS = 2000
AUTO_EPOCHS = (10, 200)
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
        devices: Number of devices of this machine on which a run trains, or ``"auto"``: all GPUs,
            or one CPU.
        parallel: What each of several processes keeps: ``"data"``: the whole model; ``"fsdp"``: a
            part of every parameter, its gradient and its optimizer's state.
        timeout: Seconds that one of several processes waits for the others.
        evaluate_every: Time between evaluations, in the words of ``warmup``; None evaluates at most
            200 times.
        checkpoint_every: Time between checkpoints inside epochs, in the words of ``warmup`` or as
            ``"10 minutes"``; None: only at evaluations.
        monitor: The number by which the best epoch is chosen: ``relative_loss``, or
            ``<task>.<metric>``.
        judge: The evaluation that comparisons and studies judge: the ``"best"`` one by the monitor,
            or the ``"final"`` one.
        patience: Evaluations without a better monitor after which the run stops; None: never.
        give_up: ``{epoch: monitor}``: a run whose best monitor up to that epoch is worse ends
            there; None: none does.
        clip: Largest norm of the gradient; None does not clip.
        lr_scheduler: ``"cosine"``, None for a constant rate, or a node with ``_target_``.
        lr_scheduler_per: Whether the scheduler steps at the end of every ``"epoch"`` or after every
            ``"step"``.
        warmup: Time over which every learning rate grows from 0, as epochs, steps or a share of the
            run (:func:`mtl_runner.config.times.parse_time`); None: none.
        compile: True, False, or ``"auto"``: where the number of steps makes it pay.
        precision: ``"float32"``; ``"bf16"`` or ``"fp16"``: the model computes in half precision;
            ``"float64"``.
        accumulate: The parts in which a batch goes through the model, as a number, or the rows of a
            part, as ``"64 rows"``; None: as a whole.
        matmul: Precision of float32 matrix products: ``"highest"``, ``"high"`` or ``"medium"``, as
            ``torch.set_float32_matmul_precision`` has them.
        channels_last: Whether the weights of convolutions are laid out with the channels last;
            ``"auto"``: on a GPU in half precision.
        ema: Decay of an exponential moving average of the weights, which is then judged and kept;
            None: none.

    Raises:
        ConfigError: If a value has the wrong type or lies outside its range.

    Example:
        >>> TrainerOptions(epochs=1000).part_rows(batch_rows=64)
        64
    """

    epochs: int = 100
    device: str = "auto"
    threads: str | int = "auto"
    evaluate_every: int | float | str | None = None
    monitor: str = "relative_loss"
    judge: str = "best"
    patience: int | None = None
    give_up: Mapping[Any, Any] | None = None
    clip: float | None = None
    lr_scheduler: str | Mapping[str, Any] | None = "cosine"
    lr_scheduler_per: str = "epoch"
    warmup: int | float | str | None = None
    compile: bool | str = "auto"
    precision: str = "float32"
    accumulate: int | str | None = None
    ema: float | None = None
    checkpoint_every: int | float | str | None = None
    matmul: str = "highest"
    channels_last: bool | str = "auto"
    devices: int | str = 1
    parallel: str = "data"
    timeout: float = 600.0

    def __post_init__(self) -> None:
        whole_number(self.epochs, "trainer.epochs", 1, word="auto")
        self._check_devices()
        if self.threads != "auto":
            whole_number(self.threads, "trainer.threads", 1, word="auto")
            if int(self.threads) > MAX_THREADS:
                raise ConfigError(
                    f"trainer.threads must be at most {MAX_THREADS}; found {self.threads}."
                )
        choice(self.judge, "trainer.judge", ("best", "final"))
        if self.patience is not None:
            whole_number(self.patience, "trainer.patience", 1)
        self._check_give_up()
        if self.clip is not None:
            object.__setattr__(self, "clip", positive(self.clip, "trainer.clip"))
        if self.lr_scheduler == {} or (
            isinstance(self.lr_scheduler, str) and self.lr_scheduler != "cosine"
        ):
            raise ConfigError(
                f"trainer.lr_scheduler={self.lr_scheduler!r} is unknown; use cosine, null, or {{_target_: torch.optim.lr_scheduler...}}."
            )
        choice(self.lr_scheduler_per, "trainer.lr_scheduler_per", ("epoch", "step"))
        if not isinstance(self.compile, bool):
            choice(self.compile, "trainer.compile", ("auto", "true", "false"))
        choice(self.precision, "trainer.precision", ("float32", "bf16", "fp16", "float64"))
        choice(self.parallel, "trainer.parallel", ("data", "fsdp"))
        choice(self.matmul, "trainer.matmul", ("highest", "high", "medium"))
        if not isinstance(self.channels_last, bool):
            choice(self.channels_last, "trainer.channels_last", ("auto", "true", "false"))
        self.part_rows(1)
        if self.ema is not None:
            fraction(self.ema, "trainer.ema", one_allowed=False)

    def _check_give_up(self) -> None:
        limits = mapping(self.give_up, "trainer.give_up", "{epoch: monitor}")
        for epoch, limit in limits.items():
            whole_number(epoch, "The epoch of an entry of trainer.give_up", 1)
            if not is_number(limit):
                raise ConfigError(f"trainer.give_up.{epoch} must be a number; found {limit!r}.")

    def _check_devices(self) -> None:
        if self.devices != "auto":
            if isinstance(self.devices, str):
                raise ConfigError(
                    f"trainer.devices={self.devices!r} is not a number of devices; give 1, 2, ... or auto."
                )
            if whole_number(self.devices, "trainer.devices", 1, word="auto") > MAX_DEVICES:
                raise ConfigError(
                    f"trainer.devices must be at most {MAX_DEVICES}; found {self.devices}."
                )
        if self.devices != 1 and ":" in str(self.device):
            raise ConfigError(
                f"trainer.device={self.device} is one device, but trainer.devices={self.devices} asks for several; give trainer.device={str(self.device).partition(':')[0]}, or leave trainer.devices out."
            )
        object.__setattr__(self, "timeout", positive(self.timeout, "trainer.timeout"))

    def part_rows(self, batch_rows: int) -> int:
        """Return how many rows of a batch go through the model at once.

        Args:
            batch_rows: Number of rows of the batch.

        Raises:
            ConfigError: If ``accumulate`` is neither a number of parts nor of rows.

        Example:
            >>> [TrainerOptions(accumulate=a).part_rows(100) for a in (None, 3, "64 rows")]
            [100, 34, 64]
        """
        if self.accumulate is None:
            return batch_rows
        words = str(self.accumulate).split()
        if (
            isinstance(self.accumulate, bool)
            or not words
            or words[1:] not in ([], ["rows"], ["row"])
            or not words[0].isdecimal()
            or not int(words[0])
        ):
            raise ConfigError(
                f"trainer.accumulate={self.accumulate!r} is neither a number of parts (4) nor of rows ('64 rows')."
            )
        return int(words[0]) if words[1:] else -(-batch_rows // int(words[0]))

    @property
    def scheduler_node(self) -> Mapping[str, Any] | None:
        """The config node of the learning-rate scheduler; None for a constant rate."""
        if self.lr_scheduler == "cosine":
            return {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR"}
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


@dataclass(frozen=True)
class RecordOptions:
    """Options of the config's ``record``: which files a run writes beside the usual ones.

    Args:
        plots: ``"all"``: pictures of every run; ``"best"``: of the best run of each strategy in a
            sweep; ``"none"``.
        figures: A second format of the pictures, ``"pdf"`` or ``"svg"``; None: PNG alone.
        gradients: Whether to record the norms and conflicts of the tasks' gradients.
        interference: Whether to measure at the end how far the tasks' gradients interfere.
        predictions: Whether to write ``predictions.csv``.
        checkpoints: What stays once a run has finished: ``"last"``: ``checkpoint.pt``, the whole
            state at its end; ``"best"``: ``best.pt``, the best model; ``"both"``; ``"none"``.
        safetensors: Whether to write the weights of the best model as ``best.safetensors``, too.

    Raises:
        ConfigError: If a value is not allowed.

    Example:
        >>> RecordOptions(plots="none").predictions
        False
    """

    plots: str = "all"
    figures: str | None = None
    gradients: bool = False
    interference: bool = False
    predictions: bool = False
    checkpoints: str = "both"
    safetensors: bool = False

    def __post_init__(self) -> None:
        choice(self.plots, "record.plots", ("all", "best", "none"))
        if self.figures is not None:
            choice(self.figures, "record.figures", ("pdf", "svg"))
        choice(self.checkpoints, "record.checkpoints", tuple(KEPT_FILES))
        flag(self.safetensors, "record.safetensors")
        if self.plots == "best" and self.checkpoints != "both":
            raise ConfigError(
                f"record.plots=best draws the best runs after a sweep, from their checkpoint.pt and best.pt; set record.checkpoints=both instead of {self.checkpoints}, or record.plots=all or none."
            )
        flag(self.gradients, "record.gradients")
        flag(self.interference, "record.interference")
        flag(self.predictions, "record.predictions")


@dataclass(frozen=True)
class LoaderOptions:
    """Options of the config's ``data.loader``: how items are read that are made one by one.

    None of them changes a result.

    Args:
        workers: Number of processes that make batches; 0: the process of the run makes them.
        prefetch_factor: Number of batches that each worker makes ahead.
        pin_memory: Whether batches come in memory from which a GPU can copy by itself; ``"auto"``:
            where there is a GPU.
        persistent: Whether the workers of an evaluation stay for the next one.

    Raises:
        ConfigError: If a value has the wrong type or lies outside its range.

    Example:
        >>> LoaderOptions(workers=4).prefetch_factor
        2
    """

    workers: int = 0
    prefetch_factor: int = 2
    pin_memory: bool | str = "auto"
    persistent: bool = True

    def __post_init__(self) -> None:
        if whole_number(self.workers, "data.loader.workers", 0) > MAX_WORKERS:
            raise ConfigError(
                f"data.loader.workers must be at most {MAX_WORKERS}; found {self.workers}."
            )
        whole_number(self.prefetch_factor, "data.loader.prefetch_factor", 1)
        if not isinstance(self.pin_memory, bool):
            choice(self.pin_memory, "data.loader.pin_memory", ("auto", "true", "false"))
        flag(self.persistent, "data.loader.persistent")


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
        loader: The options of ``data.loader``.
        steps_per_epoch: Steps of an epoch; None: one pass over the training split.
        auto_epochs: Whether :meth:`with_batch_size_for` is still to choose ``trainer.epochs``.
    """

    trainer: TrainerOptions
    record: RecordOptions
    seed: int = 0
    share: bool = True
    batch_size: int = 0
    debug: bool = False
    loader: LoaderOptions = field(default_factory=LoaderOptions)
    steps_per_epoch: int | None = None
    auto_epochs: bool = False

    @classmethod
    def read(cls, cfg: Mapping[str, Any]) -> Settings:
        """Read the settings from a composed config.

        Args:
            cfg: The config as plain mappings and values.

        Raises:
            ConfigError: If a value is not allowed; the text names its key.
        """
        debug = flag(cfg.get("debug", False), "debug")
        auto_epochs = cfg["trainer"].get("epochs") == "auto"
        # A run that was recorded before there was a choice is judged at its end.
        node = {"judge": "final", **cfg["trainer"]}
        node |= {"epochs": AUTO_EPOCHS[1]} if auto_epochs else {}
        trainer: TrainerOptions = _options(TrainerOptions, node, "trainer")
        if debug:
            trainer = replace(trainer, epochs=min(trainer.epochs, DEBUG_EPOCHS))
        batch_size = cfg["data"].get("batch_size", "auto")
        # Runs that were recorded before there were these two have neither.
        steps_per_epoch = cfg["data"].get("steps_per_epoch")
        if steps_per_epoch is not None:
            whole_number(steps_per_epoch, "data.steps_per_epoch", 1)
        return cls(
            trainer=trainer,
            record=_options(RecordOptions, cfg["record"], "record"),
            seed=whole_number(cfg["seed"], "seed", 0),
            share=flag(cfg["share"], "share"),
            batch_size=0
            if batch_size == "auto"
            else whole_number(batch_size, "data.batch_size", 1, word="auto"),
            debug=debug,
            loader=_options(LoaderOptions, _of(cfg["data"], "loader"), "data.loader"),
            steps_per_epoch=steps_per_epoch,
            auto_epochs=auto_epochs,
        )

    def with_batch_size_for(self, rows: int) -> Settings:
        """Return the settings with ``auto`` replaced by numbers.

        ``data.batch_size=auto`` is a power of two from 32 to 1024, near a hundredth of the training
        rows; ``trainer.epochs=auto`` makes about 2000 steps, in 10 to 200 epochs.

        Args:
            rows: Number of rows of the training split.

        Example:
            >>> Settings(TrainerOptions(), RecordOptions()).with_batch_size_for(10_000).batch_size
            128
        """
        batch_size = self.batch_size or min(1024, max(32, 2 ** round(math.log2(rows / 100))))
        trainer = self.trainer
        if self.auto_epochs:
            least, most = AUTO_EPOCHS
            steps = self.steps_per_epoch or -(-rows // batch_size)
            epochs = min(most, max(least, round(AUTO_STEPS / steps)))
            # A debugging run is shorter already.
            trainer = replace(trainer, epochs=min(epochs, trainer.epochs))
        return replace(self, batch_size=batch_size, trainer=trainer, auto_epochs=False)


def _of(data: Mapping[str, Any], name: str) -> Any:
    """Return an entry of the data node; a run from before there was such an entry has none."""
    value = data.get(name)
    return {} if value is None else value


def _options(options_class: type, node: Mapping[str, Any], key: str) -> Any:
    """Return the options of a group; its nested nodes stay as they are."""
    mapping(node, key, "{option: value}")
    path = f"{options_class.__module__}.{options_class.__qualname__}"
    return make({"_target_": path, "_recursive_": False, **node}, key)
