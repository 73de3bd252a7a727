"""Which sweeps may share a directory: those whose runs can be compared. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from mtl_runner.errors.option_keys import WITHOUT_EFFECT, is_among

# Options of a search that its runs do not depend on.
GROWING = ("search.trials", "search.batch", "search.prune")


def difference(recorded: Sequence[str], options: Sequence[str]) -> str | None:
    """Return why a sweep cannot go on with other options, as the middle of a sentence.

    More values of what is swept are growth, and so is a sweep over what had one value. An option
    that is one value in both has to be the same one: else the runs cannot be compared.

    Args:
        recorded: The options that the sweep was started with.
        options: Those that it is to go on with.

    Returns:
        The first key that differs and its values; None if the sweep can go on.

    Example:
        >>> before = ["weighting=fixed,dwa", "seed=0", "trainer.epochs=5"]
        >>> difference(before, ["weighting=fixed,famo", "seed=0,1", "trainer.epochs=5"])
        >>> difference(before, ["weighting=fixed,dwa", "seed=0", "trainer.epochs=6"])
        'trainer.epochs=5 there and trainer.epochs=6 here'
        >>> difference(before, ["weighting=fixed,dwa", "seed=0"])
        'trainer.epochs=5 there and no trainer.epochs here'
    """
    if list(recorded) == list(options):
        return None
    try:
        old, new = _by_key(recorded), _by_key(options)
    except HydraException:
        return f"{' '.join(recorded)} there"
    for key in [*old, *(key for key in new if key not in old)]:
        pair = old.get(key), new.get(key)
        if any(o is not None and o.is_sweep_override() for o in pair) or is_among(
            key, WITHOUT_EFFECT
        ):
            continue
        if None not in pair and key.partition(".")[0] == "study":
            # A study takes up what fits of the runs of another one.
            continue
        if key.startswith("study.") and "study" in old and "study" in new:
            continue
        if key in GROWING:
            continue
        there, here = (_typed(o) if o is not None else f"no {key}" for o in pair)
        if there != here:
            return f"{there} there and {here} here"
    return None


def _by_key(options: Sequence[str]) -> dict[str, Override]:
    """Return the options by their keys; of several with one key the last one counts."""
    overrides = OverridesParser.create().parse_overrides(list(options))
    return {override.get_key_element().lstrip("+"): override for override in overrides}


def _typed(override: Override) -> str:
    """Return an option as one would type it."""
    if override.is_delete():
        return override.get_key_element()
    return f"{override.get_key_element().lstrip('+')}={override.get_value_element_as_str()}"
