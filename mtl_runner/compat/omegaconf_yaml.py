"""OmegaConf's YAML, written by PyYAML's C library."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from mtl_runner.files import read_regular

YAML_BYTES = 1 << 22


def to_yaml(content: Any) -> bytes:
    r"""Return the text that ``OmegaConf.to_yaml`` gives, about eight times as fast.

    Without PyYAML's C library, OmegaConf writes the text itself.

    Args:
        content: Mappings, sequences and plain values.

    Example:
        >>> to_yaml({"seed": 0, "name": "a: b"})
        b"seed: 0\nname: 'a: b'\n"
    """
    import yaml  # type: ignore[import-untyped]  # OmegaConf's dependency; no stubs
    from omegaconf import OmegaConf
    from omegaconf._utils import get_omega_conf_dumper

    c_dumper: Any = getattr(yaml, "CSafeDumper", None)
    if c_dumper is None:
        return OmegaConf.to_yaml(OmegaConf.create(content)).encode()
    string_representer = get_omega_conf_dumper().str_representer
    representers = {**c_dumper.yaml_representers, str: string_representer}
    dumper = type("Dumper", (c_dumper,), {"yaml_representers": representers})
    text: str = yaml.dump(
        content, Dumper=dumper, default_flow_style=False, allow_unicode=True, sort_keys=False
    )
    return text.encode()


def read_yaml(path: Path) -> Any:
    r"""Return what ``OmegaConf.load`` returns of a file that a run or a sweep has written.

    A pipe in its place is not waited for, and no reference inside the file (``*name``), of which a
    few lines could make billions of values, is followed.

    Args:
        path: The file.

    Raises:
        OSError: If it cannot be read, or is no regular file.
        ValueError: If it holds no config; the text says why.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / "a.yaml").write_text("seed: 0\n")
        ...     read_yaml(Path(folder) / "a.yaml")
        {'seed': 0}
    """
    import yaml
    from omegaconf import OmegaConf

    data = read_regular(path, YAML_BYTES)
    try:
        text = data.decode("utf-8-sig")
        if "*" in text and any(
            isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)
        ):
            raise ValueError("it refers to parts of itself")
        return OmegaConf.load(io.StringIO(text))
    except UnicodeDecodeError:
        raise ValueError("it is no UTF-8 text") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        place = "" if line is None else f" (line {line + 1})"
        raise ValueError(f"it is no valid YAML{place}") from None
    except OSError:
        # OmegaConf's error for a file that holds a single value.
        raise ValueError("it holds no config") from None
