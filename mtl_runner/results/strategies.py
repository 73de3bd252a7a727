"""Which runs are the same strategy: the set of overrides that vary, seeds, folds and data aside."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mtl_runner.results.read import Run

_DATA = re.compile(r"data(\.|$)")
_REPLICATE = re.compile(r"(^|\.)(seed|fold)$")
_NOT_STRATEGY = re.compile(r"^(hydra|record)(\.|$)|^(name|debug)$|^data\.batch_size$")


@dataclass(frozen=True)
class Label:
    """Where a run stands in a comparison."""

    data: str
    strategy: str
    replicate: str


def label(runs: Sequence[Run]) -> list[Label]:
    """One label per run, made from what varies between them."""
    settings = [settings_of(run, runs) for run in runs]
    keys = sorted(
        {key for setting in settings for key in setting}, key=lambda key: (key != "weighting", key)
    )
    varying = [key for key in keys if len({setting.get(key) for setting in settings}) > 1]
    of_data = [
        key
        for key in varying
        if _DATA.match(key) and not _REPLICATE.search(key) and key != "data.batch_size"
    ]
    of_run = [key for key in varying if _REPLICATE.search(key)]
    rest = [key for key in varying if key not in of_data and key not in of_run]
    known = {run.choices["data"] for run in runs if "data" in run.choices}
    usual = (
        known.pop() if len(known) == 1 else "data"
    )  # of a run that was killed before it wrote down what it chose
    return [
        Label(
            data=_text(
                setting,
                [k for k in of_data if k != "data"],
                run.choices.get("data", setting.get("data", usual)),
            ),
            strategy=_text(
                setting,
                [k for k in rest if k != "weighting"],
                run.choices.get("weighting", setting.get("weighting", "run")),
            ),
            replicate=", ".join(
                f"{key.rsplit('.', 1)[-1]}={setting.get(key, '')}" for key in of_run
            ),
        )
        for run, setting in zip(runs, settings, strict=True)
    ]


def settings_of(run: Run, runs: Sequence[Run]) -> dict[str, str]:
    """The run's overrides, and for groups that other runs override its own choice."""
    overridden = {key for other in runs for key in other.overrides}
    chosen = {group: choice for group, choice in run.choices.items() if group in overridden}
    settings = {**chosen, **run.overrides}
    split = settings.pop("data.split", "")
    if match := re.fullmatch(r"\{.*fold:\s*(\d+).*\}", split):
        settings["data.split.fold"] = match.group(1)
    elif split:
        settings["data.split"] = split
    if "seed" in run.summary:
        settings.setdefault("seed", str(run.summary["seed"]))
    return {
        key: value
        for key, value in settings.items()
        if key == "data.batch_size" or not _NOT_STRATEGY.search(key)
    }


def _text(setting: dict[str, str], keys: list[str], first: str) -> str:
    last = [key.rsplit(".", 1)[-1] for key in keys]
    short = {
        key: name if last.count(name) == 1 else key for key, name in zip(keys, last, strict=True)
    }
    parts = [
        setting.get(key, "default")
        if "." not in key
        else f"{short[key]}={setting.get(key, 'default')}"
        for key in keys
    ]
    return ", ".join([first, *(part for part in parts if part)])
