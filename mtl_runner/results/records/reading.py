"""Files of a run directory as plain values; nothing in them is ever executed.

What a file holds never leads elsewhere either: no reference in it is resolved, a pipe is not waited
for, and no sentence about it repeats what it holds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mtl_runner.files import read_regular

JSON_BYTES = 1 << 24
YAML_BYTES = 1 << 18


class UnreadableError(Exception):
    """A file does not hold what it should; the text says why, without the name of the file."""

    @classmethod
    def of(cls, error: OSError) -> UnreadableError:
        """Return what the system says of a file, as the end of a sentence."""
        text = error.strerror or str(error)
        return cls(text[:1].lower() + text[1:])


class NewerFormatError(UnreadableError):
    """A newer version wrote the file, so that nothing is wrong with it."""


def read_json(path: Path) -> dict[str, Any]:
    """Read a file that holds a JSON object.

    Raises:
        FileNotFoundError: If there is no such file.
        UnreadableError: If it holds anything else.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / "a.json").write_text('{"seed": 1}')
        ...     read_json(Path(folder) / "a.json")
        {'seed': 1}
    """
    text = _text(path, JSON_BYTES)
    try:
        content = json.loads(text)
        if "\\u" in text:  # half a pair of such signs is no character, and cannot be written
            json.dumps(content, ensure_ascii=False).encode()
    except RecursionError:
        raise UnreadableError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise UnreadableError(f"it is no valid JSON (line {error.lineno})") from None
    except ValueError:
        raise UnreadableError("it holds a number or a text that cannot be read") from None
    if not isinstance(content, dict):
        raise UnreadableError("it holds no JSON object")
    return content


def read_options(path: Path) -> list[str]:
    r"""Read ``overrides.yaml``: a list of options as they were typed, ``${...}`` included.

    Raises:
        FileNotFoundError: If there is no such file.
        UnreadableError: If it holds anything else.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / "a.yaml").write_text("- seed=1\n- lr=${oc.env:HOME}\n")
        ...     read_options(Path(folder) / "a.yaml")
        ['seed=1', 'lr=${oc.env:HOME}']
    """
    import yaml  # type: ignore[import-untyped]  # OmegaConf's dependency; no stubs

    body = _yaml_events(path)
    options = [event.value for event in body if isinstance(event, yaml.ScalarEvent)]
    is_list = isinstance(body[0], yaml.SequenceStartEvent) if body else False
    if not is_list or len(options) != len(body) - 2:
        raise UnreadableError("it holds no list of options")
    return options


def read_keys(path: Path) -> list[str]:
    r"""Read the keys at the top of a YAML file, such as ``.hydra/config.yaml``; none of a list.

    Raises:
        FileNotFoundError: If there is no such file.
        UnreadableError: If it is no YAML.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / "a.yaml").write_text("seed: 1\ndata: {n: [2]}\n")
        ...     read_keys(Path(folder) / "a.yaml")
        ['seed', 'data']
    """
    import yaml

    body = _yaml_events(path)
    if not (body and isinstance(body[0], yaml.MappingStartEvent)):
        return []
    depth, top = 0, []
    for event in body[1:-1]:
        is_end = isinstance(event, yaml.CollectionEndEvent)
        depth -= is_end
        if depth == 0 and not is_end:
            top.append(event)
        depth += isinstance(event, yaml.CollectionStartEvent)
    return [event.value for event in top[::2] if isinstance(event, yaml.ScalarEvent)]


def _yaml_events(path: Path) -> list[Any]:
    """Return the parts of a YAML document, so that no tag makes an object, no alias a copy."""
    import yaml

    text = _text(path, YAML_BYTES)
    try:
        events = list(yaml.parse(text, yaml.SafeLoader))
        "".join(event.value for event in events if isinstance(event, yaml.ScalarEvent)).encode()
    except RecursionError:
        raise UnreadableError("it is nested too deeply") from None
    except (yaml.YAMLError, ValueError):
        raise UnreadableError("it is no valid YAML") from None
    return events[2:-2]  # between the start and the end of the stream and of its one document


def _text(path: Path, limit: int) -> str:
    try:
        # Some editors begin a text file with a byte order mark.
        text = read_regular(path, limit).decode("utf-8-sig")
    except FileNotFoundError:
        raise
    except UnicodeDecodeError:
        raise UnreadableError("it is no UTF-8 text") from None
    except OSError as error:
        raise UnreadableError.of(error) from None
    if not text.strip():
        raise UnreadableError("it is empty")
    return text
