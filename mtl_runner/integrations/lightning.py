"""A callback that records a Lightning run by a :class:`mtl_runner.Recorder`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from mtl_runner.config.extras import import_extra
from mtl_runner.errors import ConfigError
from mtl_runner.runs.recorder import Recorder

# The two packages are the same library; a trainer takes only callbacks of its own one.
PACKAGES = ("lightning.pytorch", "pytorch_lightning")


@functools.cache
def recorder_callback() -> Any:
    """Return the class ``LightningRecorder``, for the Lightning package that is in use.

    Raises:
        ConfigError: If there is none.
    """
    base: Any = import_extra(_package(), "lightning", "LightningRecorder").Callback

    class LightningRecorder(base):  # type: ignore[misc]
        """Record a Lightning run.

        ``training_step`` returns ``{"loss": ..., "losses": [T], "weights": [T]}`` (weights are
        optional); ``validation_step`` and ``test_step`` return ``{"outputs": {task: tensor},
        "targets": {task: tensor}}``. The run ends with ``trainer.test``, or with
        ``recorder.finish()``.

        Args:
            recorder: Writes the run directory.
        """

        def __init__(self, recorder: Recorder) -> None:
            self.recorder = recorder

        def on_train_batch_end(
            self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            """Record a training step."""
            step = _dict(outputs, "training_step", "loss", "losses")
            self.recorder.log(
                losses=step["losses"], weights=step.get("weights"), objective=step["loss"]
            )

        def on_validation_batch_end(
            self,
            trainer: Any,
            pl_module: Any,
            outputs: Any,
            batch: Any,
            batch_idx: int,
            dataloader_idx: int = 0,
        ) -> None:
            """Record a batch of the validation, but not of Lightning's check before it trains."""
            if not trainer.sanity_checking:
                part = _dict(outputs, "validation_step", "outputs", "targets")
                self.recorder.log(
                    "val",
                    outputs=part["outputs"],
                    targets=part["targets"],
                    epoch=trainer.current_epoch + 1,
                )

        def on_test_batch_end(
            self,
            trainer: Any,
            pl_module: Any,
            outputs: Any,
            batch: Any,
            batch_idx: int,
            dataloader_idx: int = 0,
        ) -> None:
            """Record a batch of the test."""
            part = _dict(outputs, "test_step", "outputs", "targets")
            self.recorder.log("test", outputs=part["outputs"], targets=part["targets"])

        def on_test_end(self, trainer: Any, pl_module: Any) -> None:
            """End the run."""
            self.recorder.finish()

        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            """Record why the run failed."""
            self.recorder.fail(exception)

    return LightningRecorder


def _package() -> str:
    """Return the Lightning package that is imported, or else one that is installed."""
    for name in PACKAGES:
        if name in sys.modules:
            return name
    installed = [name for name in PACKAGES if find_spec(name.partition(".")[0]) is not None]
    return installed[0] if installed else PACKAGES[-1]


def _dict(outputs: Any, method: str, *keys: str) -> Mapping[str, Any]:
    """Return what a step of the module returned, which must be a dict with some keys."""
    if not isinstance(outputs, Mapping) or not set(keys) <= set(outputs):
        raise ConfigError(
            f"LightningRecorder needs {method} to return a dict with {' and '.join(map(repr, keys))}."
        )
    return outputs
