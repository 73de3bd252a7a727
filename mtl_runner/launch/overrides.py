"""The options of a command, checked before Hydra composes a config from them. Free of torch."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.errors import ConfigError, suggest
from mtl_runner.errors.command_line import unknown_flag
from mtl_runner.errors.option_keys import OPTIONAL_GROUPS
from mtl_runner.launch.repeat import GROUPS

# Groups whose options bring a sweeper, and the option that one types most.
SWEEPING_GROUPS = {"study": "fair", "search": "optuna", "probe": "weighting"}
# Options that somebody may write as flags, beside the groups.
OURS = ("resume", "repeat", "seed", "name", "share")
# The flags of Hydra's command, and ours.
HYDRA_FLAGS = (
    *("--help", "--hydra-help", "--version", "--cfg", "--resolve", "--package", "--run"),
    *("--multirun", "--shell-completion", "--config-path", "--config-name", "--config-dir"),
    *("--experimental-rerun", "--info"),
    *("-h", "-c", "-p", "-r", "-m", "-sc", "-cp", "-cn", "-cd", "-i"),
)
# Hydra obeys one of these; its command takes two for an error of its own.
EXCLUSIVE_FLAGS = (
    *("-m", "--multirun", "-r", "--run", "-c", "--cfg", "-i", "--info"),
    *("-sc", "--shell-completion"),
)
OUR_FLAGS = ("--list", "--explain", "--prune")
EXAMPLES = {"weighting": "uncertainty", "data": "digits", "resume": "outputs/my_run", "seed": "1"}


def check_overrides(arguments: Sequence[str]) -> None:
    """Check what Hydra's own errors do not say in a sentence, or what it passes over.

    Args:
        arguments: What stands behind ``mtl-run``; flags are passed over.

    Raises:
        ConfigError: If an option cannot be parsed, has the value ``???``, chooses something else
            than an option of a group, or has several values or is a study or search without
            ``-m``; if several of these are asked for, or one key is a list and a mapping; or if the
            shell's question for tab completion comes from nowhere.

    Example:
        >>> check_overrides(["-m", "weighting=fixed,dwa", "seed=range(3)"])
        >>> check_overrides(["schedule=0"])  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        mtl_runner.errors.ConfigError: schedule=0 must name an option; allowed: all, ...
    """
    flags = {argument.partition("=")[0] for argument in arguments if argument.startswith("-")}
    many = bool(flags & {"-m", "--multirun"}) or "hydra.mode=MULTIRUN" in arguments
    _check_flags([flag for flag in EXCLUSIVE_FLAGS if flag in flags])
    if flags & {"-sc", "--shell-completion"}:
        _check_completion(arguments)
    sweeps = [
        argument.lstrip("+")
        for argument in arguments
        if argument.lstrip("+").partition("=")[0] in SWEEPING_GROUPS
    ]
    if len(sweeps) > 1:
        raise ConfigError(f"{' and '.join(sweeps)} cannot be one sweep; leave one of them out.")
    lists_and_mappings: dict[str, tuple[bool, str]] = {}
    for argument in arguments:
        name, _, given = argument.lstrip("-").partition("=")
        if argument.startswith("--") and (name in GROUPS or name in OURS or "." in name):
            example = given or EXAMPLES.get(name, "<value>")
            raise ConfigError(
                f"{argument} is no flag: options have no dashes, as in {name}={example}."
            )
        if sentence := unknown_flag(argument, HYDRA_FLAGS, OUR_FLAGS):
            raise ConfigError(f"{sentence}.")
        if not re.match(r"[+]*\w[\w./@:-]*=|~", argument):
            continue
        override = _parsed(argument)
        group, typed = str(override.key_or_group), argument.lstrip("+")
        # --cfg only shows the config of a study.
        if group in SWEEPING_GROUPS and not many and not flags:
            known = typed.partition("=")[2] in _options(group)
            choice = typed if known else f"{group}={SWEEPING_GROUPS[group]}"
            raise ConfigError(many_runs(group, choice))
        if override.is_delete():
            if group in GROUPS and group not in OPTIONAL_GROUPS:
                raise ConfigError(f"{argument} cannot be: every run needs the group {group!r}.")
            continue
        if override.is_sweep_override() and not many:
            or_list = "" if group in GROUPS else f", or write {group}=[...] for a list"
            raise ConfigError(f"{typed} names several values; add -m for a run of each{or_list}.")
        _check_kind(group, override.value(), typed, lists_and_mappings)
        for value in _values(override):
            if value == "???":
                raise ConfigError(f"{typed} stands for a value that is missing; give one.")
            if (group in GROUPS or "/" in group) and not _is_choice(value):
                allowed = f"; {suggest(str(value), _options(group))}" if group in GROUPS else ""
                raise ConfigError(f"{typed} must name an option{allowed}.")


def _check_kind(key: str, value: Any, typed: str, before: dict[str, tuple[bool, str]]) -> None:
    """Check that no key is a list in one option and a mapping in another; remember this one."""
    above, _, name = key.rpartition(".")
    is_below = above in before and before[above][0] and not name.isdecimal()
    if not is_below and not isinstance(value, list | Mapping):
        return
    first = before.get(above if is_below else key)
    if first and (is_below or first[0] != isinstance(value, list)):
        raise ConfigError(
            f"{first[1]} and {typed} cannot both be: {above if is_below else key} is either a list or a mapping; leave one of them out."
        )
    before[key] = isinstance(value, list), typed


def _check_flags(flags: Sequence[str]) -> None:
    """Check that at most one of the flags is there that exclude each other."""
    if len(flags) < 2:
        return
    first, second = flags[:2]
    if first in ("-m", "--multirun") and second in ("-c", "--cfg"):
        raise ConfigError(f"{second} prints the config of one run; leave out {first}.")
    raise ConfigError(f"{first} and {second} cannot be one command; leave one of them out.")


def _check_completion(arguments: Sequence[str]) -> None:
    """Check that tab completion is installed or removed, or that a shell asks for it."""
    shell = next((a for a in arguments if re.match("(install|uninstall|query)=", a)), None)
    install = 'eval "$(mtl-run -sc install=bash)" in bash or zsh, mtl-run -sc install=fish | source in fish'
    if shell is None:
        raise ConfigError(f"-sc needs install=<shell>, as in {install}.")
    if shell.startswith("query") and "COMP_LINE" not in os.environ:
        raise ConfigError(
            f"-sc {shell} is what the shell calls when you press Tab; to set up tab completion, type {install}."
        )


def with_multirun(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a command; a probe needs no ``-m``, it is one question.

    Args:
        arguments: What stands behind ``mtl-run``.

    Example:
        >>> with_multirun(["+probe=weighting", "data=digits"])
        ['-m', '+probe=weighting', 'data=digits']
    """
    exclusive = (*EXCLUSIVE_FLAGS, "-h", "--help", "--hydra-help", "--version")
    given = any(argument.partition("=")[0] in exclusive for argument in arguments)
    probes = any(argument.lstrip("+").startswith("probe=") for argument in arguments)
    return ["-m", *arguments] if probes and not given else list(arguments)


def many_runs(group: str, typed: str) -> str:
    """Return the sentence that a study or search is no single run.

    Args:
        group: A group whose options bring a sweeper.
        typed: The choice as it was typed, without ``+``.

    Example:
        >>> many_runs("study", "study=fair")
        'A study is many runs: write mtl-run -m +study=fair ..., with the sweeper that it brings.'
    """
    return (
        f"A {group} is many runs: write mtl-run -m +{typed} ..., with the sweeper that it brings."
    )


def sweeping_choice(keys: Container[str]) -> str:
    """Return why a config is none of a single run: it holds a study or a search; empty without.

    Args:
        keys: The keys at the top of the config.

    Example:
        >>> sweeping_choice(["seed", "data"])
        ''
    """
    for group in SWEEPING_GROUPS:
        if group in keys:
            return many_runs(group, f"{group}={SWEEPING_GROUPS[group]}")
    return ""


def _parsed(argument: str) -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_overrides([argument])[0]
    except HydraException as error:
        raise ConfigError(
            f"The option {argument.lstrip('+')!r} cannot be parsed; write key=value, and quote values with spaces, braces, commas or letters beyond a to z: \"key='a: b'\"."
        ) from error


def _values(override: Any) -> Iterator[Any]:
    """Yield the value of an override, or each of a sweep's."""
    from hydra.core.override_parser.types import ChoiceSweep, Glob, QuotedString

    value = override.value()
    if isinstance(value, ChoiceSweep):
        yield from (str(v.text) if isinstance(v, QuotedString) else v for v in value.list)
    elif not isinstance(value, Glob):
        yield value


def _is_choice(value: Any) -> bool:
    """Return whether a value names an option of a group, or several, or is merged into it.

    Hydra itself takes no null; an optional group is left out, or removed by a ``~``.
    """
    if isinstance(value, Mapping):
        return True
    names = value if isinstance(value, list) and value else [value]
    return all(isinstance(name, str) and bool(name.strip()) for name in names)


def _options(group: str) -> list[str]:
    """Return the names of the options of a group, ours and those of the working directory."""
    folders = (conf_directory() / group, Path.cwd() / "conf" / group)
    return sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
