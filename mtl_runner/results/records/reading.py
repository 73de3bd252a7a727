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

    text = _text(path, YAML_BYTES)
    try:
        # Of the parts alone, so that no tag makes an object and no alias makes a copy.
        events = list(yaml.parse(text, yaml.SafeLoader))
        options = [event.value for event in events if isinstance(event, yaml.ScalarEvent)]
        "".join(options).encode()
    except RecursionError:
        raise UnreadableError("it is nested too deeply") from None
    except (yaml.YAMLError, ValueError):
        raise UnreadableError("it is no valid YAML") from None
    body = events[2:-2]  # between the start and the end of the stream and of its one document
    is_list = isinstance(body[0], yaml.SequenceStartEvent) if body else False
    if not is_list or len(options) != len(body) - 2:
        raise UnreadableError("it holds no list of options")
    return options


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
