"""Options by what they do to a run: which may be left out, and which change no result."""

from __future__ import annotations

from collections.abc import Iterable

# Groups of which a config may choose no option.
OPTIONAL_GROUPS = ("experiment", "study", "search", "probe", "tracker")
# Options that change no result, whatever they are: a run goes on with others.
WITHOUT_EFFECT = (
    "data.loader",
    "trainer.checkpoint_every",
    "trainer.devices",  # but for rounding
    "trainer.timeout",
    "record.checkpoints",
    "record.interference",
    "record.safetensors",
    "tracker",
)
# Options that say how a run is computed and recorded: runs with others are compared as the same.
COMPUTATION = (
    *WITHOUT_EFFECT,
    "data.cache",
    "trainer.device",
    "trainer.threads",
    "record",
    "name",
)
# Options that say where a run trains and not what, so that a run can move to another machine.
PLACES = (*COMPUTATION, "data.path", "data.second_path")


def is_among(key: str, options: Iterable[str]) -> bool:
    """Return whether a key is one of some options, or lies below one.

    Args:
        key: The key with its dots.
        options: The options.

    Example:
        >>> is_among("data.loader.workers", WITHOUT_EFFECT), is_among("trainer.device", ["train"])
        (True, False)
    """
    return any(f"{key}.".startswith(f"{option}.") for option in options)
