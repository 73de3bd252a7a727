"""YAML as OmegaConf writes it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from mtl_runner.compat.omegaconf_yaml import to_yaml


@pytest.mark.parametrize(
    "content",
    [{"a": 1, "b": [1, 2.5, None], "c": "1e3", "d": {"e": "yes", "f": "x: y"}}, ["a=1", "b='x'"]],
)
def test_yaml_is_omegaconfs_own(content: Any) -> None:
    """Breaks if a recorded config reads back as another one."""
    assert to_yaml(content).decode() == OmegaConf.to_yaml(OmegaConf.create(content))


def test_without_the_c_library_the_text_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a recorded config depends on how PyYAML was built."""
    content = {"text": "naïve: yes", "rate": 1e-4, "empty": {}}
    expected = to_yaml(content)
    monkeypatch.delattr(yaml, "CSafeDumper", raising=False)
    assert to_yaml(content) == expected
