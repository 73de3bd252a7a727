"""Writing files so that a kill or a full disk leaves the old file or the new one, never half of one."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any


def write_atomic(path: Path, data: bytes) -> None:
    """Write to a temporary name, sync, rename. Raises ``OSError`` and leaves no temporary file behind."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def yaml_of(content: Any) -> bytes:
    """Plain values as ``OmegaConf.to_yaml`` writes them, eight times as fast where PyYAML has its C library."""
    import yaml  # type: ignore[import-untyped]  # OmegaConf's own; no stubs
    from omegaconf import OmegaConf
    from omegaconf._utils import get_omega_conf_dumper

    fast: Any = getattr(yaml, "CSafeDumper", None)
    if fast is None:
        return OmegaConf.to_yaml(OmegaConf.create(content)).encode()
    dumper = type(
        "Dumper", (fast,), {"yaml_representers": {**fast.yaml_representers, str: get_omega_conf_dumper().str_representer}}
    )
    text: str = yaml.dump(content, Dumper=dumper, default_flow_style=False, allow_unicode=True, sort_keys=False)
    return text.encode()


def write_json(path: Path, content: Any) -> None:
    """Write JSON (NaN and infinity as null) in one piece."""
    write_atomic(path, (json.dumps(_finite(content), indent=2) + "\n").encode())


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
