"""Labels tell which runs share a strategy: the same overrides, seeds, folds and data aside."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from mtl_runner.errors.option_keys import COMPUTATION, is_among
from mtl_runner.results.records.run import Run

BATCH_SIZE = "data.batch_size"  # a setting of the training, although its key says data
_DATA = re.compile(r"data(\.|$)")
_REPLICATE = re.compile(r"(^|\.)(seed|fold)$")
_REPLICATES = {"data.seed": "split"}  # the seed of the data splits them, or draws them
# A search has other limits for every batch of trials.
_NOT_STRATEGY = re.compile(r"^(hydra|record|tracker|trainer\.give_up)(\.|$)|^(name|debug)$")


@dataclass(frozen=True)
class Label:
    """The place of a run in a comparison.

    Attributes:
        data: The data set, with its settings that vary.
        strategy: The strategy, with its settings that vary.
        replicate: Seed, split and fold, ``"seed=3"``.
    """

    data: str
    strategy: str
    replicate: str


def label_runs(runs: Sequence[Run]) -> list[Label]:
    """Return one label per run, made from what varies between the runs.

    ``lr=default`` stands only beside another ``lr`` of the same weighting: a run that did not set
    an option is not named after the options that other weightings set. How a run was computed, as
    on which device, is no part of a name.
    """
    settings = settings_of(runs)
    ours = {
        key
        for run, setting in zip(runs, settings, strict=True)
        if not run.summary.own_loop
        for key in setting
    }
    # A run of which nothing can be read says nothing about what varies.
    known = [pair for pair in zip(runs, settings, strict=True) if _is_known(pair[0])]
    named = {key for setting in settings for key in setting if not is_among(key, COMPUTATION)}
    keys = sorted(named, key=lambda key: (key != "weighting", key))
    varying = [
        key
        for key in keys
        if len({setting.get(key) for run, setting in known if _says(run, setting, key, ours)}) > 1
    ]
    replicate_keys = [key for key in varying if _REPLICATE.search(key)]
    data_keys = [
        key
        for key in varying
        if _DATA.match(key) and key not in replicate_keys and key != BATCH_SIZE
    ]
    strategy_keys = [key for key in varying if key not in data_keys and key not in replicate_keys]
    groups = [key for key in strategy_keys if "." not in key]
    names = [
        run.choices.get("weighting", setting.get("weighting", "run"))
        for run, setting in zip(runs, settings, strict=True)
    ]
    methods = [
        (name, *(setting.get(key, "") for key in groups))
        for name, setting in zip(names, settings, strict=True)
    ]
    set_by: dict[tuple[str, ...], set[str]] = {}
    for method, setting in zip(methods, settings, strict=True):
        set_by.setdefault(method, set(groups)).update(setting)
    # A run that was killed before it recorded its choices is taken to have the data of the others.
    datasets = {run.choices["data"] for run in runs if "data" in run.choices}
    usual = datasets.pop() if len(datasets) == 1 else "data"
    return [
        Label(
            data=_text(
                run.choices.get("data", setting.get("data", usual)),
                setting,
                [key for key in data_keys if key != "data" and _says(run, setting, key, ours)],
                data_keys,
            ),
            strategy=_text(
                method[0],
                setting,
                [
                    key
                    for key in strategy_keys
                    if key != "weighting"
                    and key in set_by[method]
                    and _says(run, setting, key, ours)
                ],
                strategy_keys,
            ),
            replicate=", ".join(
                f"{_REPLICATES.get(key) or key.rsplit('.', 1)[-1]}={setting.get(key, '')}"
                for key in replicate_keys
            ),
        )
        for run, setting, method in zip(runs, settings, methods, strict=True)
    ]


def settings_of(runs: Sequence[Run]) -> list[dict[str, str]]:
    """Return each run's overrides and, of config groups that other runs override, its choices."""
    overridden = {key for run in runs for key in run.overrides}
    return [_settings(run, overridden) for run in runs]


def _settings(run: Run, overridden: Set[str]) -> dict[str, str]:
    choices = {group: choice for group, choice in run.choices.items() if group in overridden}
    settings = {**choices, **run.overrides}
    split = settings.pop("data.split", "")
    if match := re.fullmatch(r"\{.*fold:\s*(\d+).*\}", split):
        settings["data.split.fold"] = match.group(1)
    elif split:
        settings["data.split"] = split
    if run.summary.seed is not None:
        settings.setdefault("seed", str(run.summary.seed))
    return {key: value for key, value in settings.items() if not _NOT_STRATEGY.search(key)}


def _is_known(run: Run) -> bool:
    return bool(run.choices or run.overrides)


def _says(run: Run, setting: Mapping[str, str], key: str, ours: Set[str]) -> bool:
    """Return whether a run says what it has for a key.

    A loop of the user's own does so by naming it; a run of ours also by leaving out what another
    one of ours names.
    """
    return _is_known(run) and (key in setting or (key in ours and not run.summary.own_loop))


def _text(
    name: str, setting: Mapping[str, str], keys: Sequence[str], varying: Sequence[str]
) -> str:
    """Return the name with the values of the keys, each key by its end where that is clear."""
    ends = [key.rsplit(".", 1)[-1] for key in varying]
    parts = [name]
    for key in keys:
        value, end = setting.get(key, "default"), key.rsplit(".", 1)[-1]
        short = end if ends.count(end) == 1 else key
        parts.append(f"{short}={value}" if "." in key else value)
    return ", ".join([name, *(part for part in parts[1:] if part)])
