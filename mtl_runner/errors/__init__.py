"""Errors written for users: one sentence that says what is wrong and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MtlError(Exception):
    """Base of all errors whose text is written for the user.

    The command line prints the text of such an error as its last line, without a traceback.

    Example:
        >>> from mtl_runner.errors import ConfigError, MtlError
        >>> try:
        ...     raise ConfigError("trainer.epochs must be auto or a whole number; found 1.5.")
        ... except MtlError as error:
        ...     print(error)
        trainer.epochs must be auto or a whole number; found 1.5.
    """


class ConfigError(MtlError):
    """An option in the config does not exist, or its value cannot be used."""


class DataError(MtlError):
    """The data cannot be read, or do not fit the tasks."""


class CodeError(MtlError):
    """A class of the user's cannot be made as it is written, whatever its options are."""


class ModelError(MtlError):
    """The model does not fit the tasks: a wrong shape, or a parameter that no loss reaches."""


class DivergedError(MtlError):
    """A loss or a weight became NaN or infinite during training."""


class RunDirectoryError(MtlError):
    """A run directory is taken, incomplete, or cannot be written."""


class OtherRankError(MtlError):
    """Another process of a run on several devices has ended, or does not answer.

    Args:
        sentence: Why.
        signal: The signal that stopped it; 0 for an error.
    """

    def __init__(self, sentence: str, signal: int = 0) -> None:
        super().__init__(sentence)
        self.signal = signal


# What others call the options of config groups.
OTHER_NAMES = {
    **dict.fromkeys(("ew", "equal", "mtl", "sum", "linear_scalarization"), "fixed"),
    **dict.fromkeys(("uw", "kendall", "homoscedastic_uncertainty"), "uncertainty"),
    **dict.fromkeys(("rlw", "rlw_normal"), "random"),
    **dict.fromkeys(("stl", "single"), "single_task"),
    **dict.fromkeys(("gls", "geometric"), "geometric_mean"),
    **dict.fromkeys(("uw_so", "uwso"), "uncertainty_softmax"),
    **dict.fromkeys(("ruw", "automatic"), "uncertainty_simplified"),
}
# More names than this are not listed one by one.
MANY_NAMES = 100
FEW_NAMES = 3


def suggest(name: str, allowed: Iterable[str]) -> str:
    """Return the end of a sentence about an unknown name: the nearest allowed name, then all.

    Args:
        name: The name that the user wrote.
        allowed: The names that exist.

    Example:
        >>> suggest("acuracy", ["accuracy", "f1"])
        "did you mean 'accuracy'? allowed: accuracy, f1"
        >>> suggest("speed", ["accuracy", "f1"])
        'allowed: accuracy, f1'
        >>> suggest("resnet51", [f"resnet{n}" for n in range(50, 500, 2)])  # doctest: +ELLIPSIS
        "did you mean 'resnet58' or 'resnet56' or 'resnet54'? 225 names are allowed, resnet100, ..."
    """
    names = sorted(str(allowed_name) for allowed_name in allowed)
    few = len(names) <= MANY_NAMES
    meant = OTHER_NAMES.get(str(name).lower())
    near = (
        [meant]
        if meant in names
        else difflib.get_close_matches(str(name), names, n=1 if few else FEW_NAMES)
    )
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    if few:
        return f"{hint}allowed: {', '.join(names) if names else 'none'}"
    return f"{hint}{len(names)} names are allowed, {', '.join(names[:FEW_NAMES])}, ... among them"
