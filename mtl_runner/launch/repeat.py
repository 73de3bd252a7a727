"""``repeat=<run>``: the recorded config of a run, with changes if wanted, as a primary config."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from mtl_runner.errors import RunDirectoryError
from mtl_runner.runs.records import own_loop, read_config, read_recorded_options

GROUPS = (
    "data",
    "model",
    "likelihood",
    "weighting",
    "schedule",
    "update",
    "optimizer",
    "trainer",
    "experiment",
    "study",
    "search",
    "probe",
    "tracker",
)


def prepare_repeat(
    run: Path, arguments: Sequence[str], conf: Path
) -> tuple[tempfile.TemporaryDirectory[str] | None, list[str]]:
    """Return the config to compose, and the arguments to compose it with, to repeat a run.

    A changed value is changed in the recorded config, which is to the letter what ran. A changed
    group (``weighting=fixed``) cannot be: then the run's overrides and the new ones are composed
    from today's configs.

    Args:
        run: The directory of the run to repeat.
        arguments: The options of the command line, without ``repeat=``.
        conf: The folder of our configs.

    Returns:
        A temporary folder with the primary config, or None for today's configs; and the arguments.

    Raises:
        RunDirectoryError: If ``run`` is no run directory or one of a loop of the user's own, or its
            record cannot be read.
    """
    config = read_config(run)
    foreign = own_loop(run)
    if foreign is not None:
        raise RunDirectoryError(foreign)
    keys = [argument.lstrip("+~").split("=", 1)[0].split("@")[0] for argument in arguments]
    if any(key in GROUPS for key in keys):
        return None, [*read_recorded_options(run), *arguments]
    ours = OmegaConf.load(conf / "config.yaml")
    assert isinstance(ours, DictConfig)
    folder = tempfile.TemporaryDirectory(prefix="mtl-run-repeat-")
    hydra_choices = [
        entry
        for entry in ours.defaults
        if isinstance(entry, DictConfig) and str(next(iter(entry))).startswith("override")
    ]
    content = OmegaConf.create(
        {
            "defaults": ["_self_", *hydra_choices],
            **{key: value for key, value in config.items() if key != "defaults"},
            "hydra": ours.hydra,
        }
    )
    OmegaConf.save(content, Path(folder.name) / "config.yaml")
    return folder, list(arguments)
