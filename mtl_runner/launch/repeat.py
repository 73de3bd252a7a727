"""``repeat=<run>``: the recorded config of a run as a primary config of its own, with changes if wanted."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from mtl_runner.runs.directory import read_config

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
)


def repeated(
    run: Path, arguments: Sequence[str], conf: Path
) -> tuple[tempfile.TemporaryDirectory[str] | None, list[str]]:
    """A folder with the config to run and the arguments that remain.

    Values are changed in the recorded config, to the letter what ran. A change of a whole group (``weighting=fixed``) cannot be:
    then the run's own overrides and the new ones are composed afresh from today's configs (the folder is None).

    Raises ``RunDirectoryError`` if ``run`` is no run directory.
    """
    config = read_config(run)
    keys = [argument.lstrip("+~").split("=", 1)[0].split("@")[0] for argument in arguments]
    if any(key in GROUPS for key in keys):
        path = run / ".hydra" / "overrides.yaml"
        recorded = list(OmegaConf.load(path)) if path.exists() else []
        return None, [*map(str, recorded), *arguments]
    ours = OmegaConf.load(conf / "config.yaml")
    assert isinstance(ours, DictConfig)
    folder = tempfile.TemporaryDirectory(prefix="mtl-run-repeat-")
    defaults = [
        "_self_",
        *(
            entry
            for entry in ours.defaults
            if isinstance(entry, DictConfig) and str(next(iter(entry))).startswith("override")
        ),
    ]
    content = OmegaConf.create(
        {
            "defaults": defaults,
            **{k: v for k, v in config.items() if k != "defaults"},
            "hydra": ours.hydra,
        }
    )
    OmegaConf.save(content, Path(folder.name) / "config.yaml")
    return folder, list(arguments)
