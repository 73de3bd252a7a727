"""Fast composition of the configs of a sweep, whose jobs mostly differ in plain values."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from functools import cache
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

# Keys without a dot that hold plain values; all others name groups of options.
VALUE_KEYS = ("seed", "share", "name")
# The one of Hydra's own options in which jobs differ: the folder of a run that goes on.
FOLDER_KEY = "hydra.sweep.subdir"


class Composer:
    """A config loader for sweeps that composes each choice of group options only once.

    It takes the place of Hydra's loader. A job whose choice of options (``weighting=dwa``) has been
    composed before gets a copy of that config, into which its plain values (``seed=3``) are put:
    400 jobs compose in a second instead of half a minute. The first job of every choice is composed
    by Hydra, too; if the two configs differ in anything, Hydra composes every job of that choice.

    Args:
        loader: Hydra's own loader, which does everything else.

    Example:
        >>> from hydra import initialize_config_dir
        >>> from hydra.core.global_hydra import GlobalHydra
        >>> from hydra.types import RunMode
        >>> from mtl_runner.config.conf_directory import conf_directory
        >>> with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        ...     loader = GlobalHydra.instance().config_loader()
        ...     master = loader.load_configuration("config", [], RunMode.MULTIRUN)
        ...     composer = Composer(loader)
        ...     jobs = [composer.load_sweep_config(master, [f"seed={s}"]) for s in range(3)]
        >>> [job.seed for job in jobs]
        [0, 1, 2]
    """

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self._templates: dict[tuple[str, ...], bytes | None] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def load_sweep_config(
        self, master_config: DictConfig, sweep_overrides: list[str]
    ) -> DictConfig:
        """Compose the config of one job of a sweep.

        Args:
            master_config: The config of the sweep itself.
            sweep_overrides: The overrides of the job.
        """
        overrides = [_parsed(line) for line in sweep_overrides]
        options = tuple(str(o.input_line) for o in overrides if not _is_value(o))
        if options not in self._templates:
            template = self.loader.load_sweep_config(master_config, list(options))
            expected: DictConfig = self.loader.load_sweep_config(master_config, sweep_overrides)
            self._templates[options] = pickle.dumps(template)
            composed = self._filled(options, master_config, overrides)
            if OmegaConf.to_container(composed) != OmegaConf.to_container(expected):
                self._templates[options] = None
            return expected
        if self._templates[options] is None:
            config: DictConfig = self.loader.load_sweep_config(master_config, sweep_overrides)
            return config
        return self._filled(options, master_config, overrides)

    def _filled(
        self, options: tuple[str, ...], master_config: DictConfig, overrides: list[Override]
    ) -> DictConfig:
        """Return the config of these options with the job's plain values put in."""
        template = self._templates[options]
        assert template is not None
        config: DictConfig = pickle.loads(template)
        ConfigLoaderImpl._apply_overrides_to_config([o for o in overrides if _is_value(o)], config)
        config.hydra.overrides.hydra += [
            o.input_line for o in overrides if _is_value(o) and o.is_hydra_override()
        ]
        config.hydra.overrides.task = [o.input_line for o in overrides if not o.is_hydra_override()]
        names = config.hydra.job.config.override_dirname
        config.hydra.job.override_dirname = get_overrides_dirname(
            overrides=[o for o in overrides if not o.is_hydra_override()],
            kv_sep=names.kv_sep,
            item_sep=names.item_sep,
            exclude_keys=names.exclude_keys,
        )
        OmegaConf.copy_cache(from_config=master_config, to_config=config)
        return config


def one_of_each_kind(batch: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return one job of all that differ in nothing but plain values.

    If it can be composed, the others can: what the values are is checked when the runs are built.

    Args:
        batch: The overrides of each job.

    Example:
        >>> one_of_each_kind([["weighting=dwa", "seed=0"], ["weighting=dwa", "seed=1"], ["seed=0"]])
        [['weighting=dwa', 'seed=0'], ['seed=0']]
    """
    kinds: dict[tuple[str, ...], list[str]] = {}
    for lines in batch:
        kinds.setdefault(tuple(map(_kind, lines)), list(lines))
    return list(kinds.values())


def _kind(line: str) -> str:
    """Return the key of an override, with its ``+``, or all of it if not any value composes."""
    override = _parsed(line)
    # A mapping brings keys of its own, which may not exist.
    is_plain = _is_value(override) and not isinstance(override.value(), dict | list)
    return line.partition("=")[0] if is_plain else line


@cache
def _parsed(line: str) -> Override:
    return OverridesParser.create().parse_overrides([line])[0]


def _is_value(override: Override) -> bool:
    """Return whether an override sets a plain value and does not choose an option of a group."""
    if override.package is not None or override.is_delete():
        return False
    if override.is_hydra_override():
        return override.key_or_group == FOLDER_KEY
    return "." in override.key_or_group or override.key_or_group in VALUE_KEYS
