"""Composing the configs of many jobs that differ in values: Hydra composes each choice of options once, and values are put in."""

from __future__ import annotations

import pickle
from functools import cache
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

VALUES = ("seed", "share", "name")  # keys without a dot that are values, not groups of options


class Composer:
    """Stands in for Hydra's config loader in a sweep: 400 jobs compose in a second instead of half a minute, twice.

    The first job of each choice of options is composed by Hydra as well; if the two differ in anything, Hydra composes all.

    Args:
        loader: Hydra's own, which does everything else.
    """

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self._templates: dict[tuple[str, ...], bytes | None] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def load_sweep_config(
        self, master_config: DictConfig, sweep_overrides: list[str]
    ) -> DictConfig:
        """Compose the config of one job of a sweep."""
        overrides = [_parsed(line) for line in sweep_overrides]
        key = tuple(str(o.input_line) for o in overrides if not _is_value(o))
        if key not in self._templates:
            template = self.loader.load_sweep_config(master_config, list(key))
            whole = self.loader.load_sweep_config(master_config, sweep_overrides)
            self._templates[key] = pickle.dumps(template)
            mine = self._filled(key, master_config, overrides)
            if OmegaConf.to_container(mine) != OmegaConf.to_container(whole):
                self._templates[key] = None
            return whole  # type: ignore[no-any-return]
        if self._templates[key] is None:
            return self.loader.load_sweep_config(master_config, sweep_overrides)  # type: ignore[no-any-return]
        return self._filled(key, master_config, overrides)

    def _filled(
        self, key: tuple[str, ...], master_config: DictConfig, overrides: list[Override]
    ) -> DictConfig:
        template = self._templates[key]
        assert template is not None
        config: DictConfig = pickle.loads(template)
        ConfigLoaderImpl._apply_overrides_to_config([o for o in overrides if _is_value(o)], config)
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


@cache
def _parsed(line: str) -> Override:
    return OverridesParser.create().parse_overrides([line])[0]


def _is_value(override: Override) -> bool:
    """Whether it changes a value and nothing about which options are composed."""
    plain = (
        override.package is None and not override.is_delete() and not override.is_hydra_override()
    )
    return plain and ("." in override.key_or_group or override.key_or_group in VALUES)
