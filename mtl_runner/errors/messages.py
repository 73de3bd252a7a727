"""Sentences for errors of Hydra and OmegaConf, of the machine, and of a user's own code.

This module does not import torch, so that the command line can report an error at once.
"""

from __future__ import annotations

import errno
import re
import traceback
from pathlib import Path
from typing import Any

from mtl_runner.errors import MtlError, suggest
from mtl_runner.errors.keys import suggest_key
from mtl_runner.errors.option_keys import OPTIONAL_GROUPS

# The classes that people ask for by these names.
OPTIMIZERS = {
    **{
        name.lower(): f"torch.optim.{name}"
        for name in ("Adadelta", "Adagrad", "Adamax", "ASGD", "NAdam", "RAdam", "RMSprop", "Rprop")
    },
    **{name.lower(): f"timm.optim.{name}" for name in ("Adan", "Lamb", "Lion")},
}
# What others call the group of trackers, which a config without one does not have.
TRACKER_KEYS = ("logger", "loggers", "report_to")


def cli_message(error: BaseException) -> str:
    """Return one sentence for an error that reached the command line.

    Args:
        error: The error; the errors that caused it are looked at, too.

    Example:
        >>> from mtl_runner.errors import DataError
        >>> cli_message(DataError("The file 'a.csv' is empty."))
        "The file 'a.csv' is empty."
        >>> cli_message(ValueError("too small"))
        'ValueError: too small (HYDRA_FULL_ERROR=1 shows the traceback.)'
    """
    chain = _chain(error)
    for link in chain:
        if isinstance(link, MtlError):
            return str(link)
    for link in chain:
        sentence = _hydra_sentence(link)
        if sentence:
            return sentence
    cause = chain[-1]
    if isinstance(cause, OSError):
        return run_message(cause)
    if type(cause).__name__ in ("TerminatedWorkerError", "BrokenProcessPool"):
        return (
            "A worker process was killed (out of memory, or by hand) and took the results of the running jobs with it; "
            "start the same command again with hydra.sweep.dir=<sweep directory> resume=true."
        )
    text = " ".join(str(cause).split()) or type(cause).__name__
    return f"{type(cause).__name__}: {text} (HYDRA_FULL_ERROR=1 shows the traceback.)"


def run_message(error: BaseException) -> str:
    """Return one sentence for an error that ended a run.

    The sentence goes into ``summary.json``, so it says where a user's own code raised the error.

    Example:
        >>> run_message(MemoryError())
        'Out of memory; set trainer.accumulate, lower data.batch_size or model.hidden, or choose another trainer.device.'
    """
    if isinstance(error, MtlError):
        return str(error)
    if out_of_memory(error):
        return "Out of memory; set trainer.accumulate, lower data.batch_size or model.hidden, or choose another trainer.device."
    if isinstance(error, OSError):
        return _os_sentence(error)
    place = place_of(error)
    reason = (str(error).strip() or "no message").splitlines()[0]
    location = f" (raised in {place})" if place else ""
    return f"{type(error).__name__}: {reason}{location}; run.log holds the traceback, HYDRA_FULL_ERROR=1 shows it."


def place_of(error: BaseException) -> str:
    """Return the file and line that raised an error; of one inside torch, those that called it.

    Example:
        >>> place_of(ValueError("it was never raised"))
        ''
    """
    frames = traceback.extract_tb(error.__traceback__)
    called = [frame for frame in frames if "torch" not in Path(frame.filename).parts]
    if not frames:
        return ""
    frame = (called or frames)[-1]
    return f"{Path(frame.filename).name}, line {frame.lineno}"


def _os_sentence(error: OSError) -> str:
    path = f" {str(error.filename)!r}" if error.filename else " the run directory"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return (
            f"The disk is full (writing{path}); free some space and go on with mtl-run resume=<run directory>, "
            "or with a sweep by the same command and hydra.sweep.dir=<sweep directory> resume=true."
        )
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return f"Cannot write{path}: {error.strerror}; choose a directory you may write to with hydra.run.dir=..."
    if isinstance(error, NotADirectoryError | FileExistsError):
        return f"Cannot make the directory{path}: a file of that name is in the way; choose another hydra.run.dir."
    return f"{error.strerror or error}{f':{path}' if error.filename else ''}; check the path, or choose another hydra.run.dir."


def out_of_memory(error: BaseException) -> bool:
    """Return whether the machine or its GPU had no memory left."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in str(error)
    )


def _chain(error: BaseException) -> list[BaseException]:
    """Return the error, the error that caused it, and so on."""
    links = [error]
    while True:
        cause = links[-1].__cause__ or links[-1].__context__
        if cause is None or cause in links:
            return links
        links.append(cause)


def _elsewhere(group: str, option: str) -> str:
    """Return how to get what is no file of a config group."""
    if group == "model":
        return f" (a network of timm, torchvision or Hugging Face is model=backbone model.name={option})"
    if group != "optimizer":
        return ""
    name = option if "." in option else OPTIMIZERS.get(option.lower(), "my_package.MyOptimizer")
    return f" (any other class: optimizer._target_={name})"


def _hydra_sentence(error: BaseException) -> str | None:
    """Return a sentence for an error of Hydra or OmegaConf; None for any other error."""
    kind, text = type(error).__name__, str(error)
    if match := re.search(
        r"Could not find '([^']+)/([^'/]+)'.*?Available options in '[^']+':\s*(.*?)(?:\n\S|\Z)",
        text,
        re.DOTALL,
    ):
        group, option, options = match.groups()
        return f"{group}={option} does not exist; {suggest(option, options.split())}{_elsewhere(group, option)}."
    if match := re.search(
        r"Could not override '([^']+)'\.?\s*(No match in the defaults list|Key '[^']*' is not in struct)?",
        text,
    ):
        return _unknown_key(match.group(1), text, error)
    if match := re.search(r"Could not append to config\. An item is already at '([^']+)'", text):
        return f"{match.group(1)} exists already; write {match.group(1)}=... without the +."
    if (
        kind == "OverrideParseException"
        or "mismatched input" in text
        or "token recognition" in text
        or "no viable alternative" in text
    ):
        first = text.strip().splitlines()[0]
        return f"An option cannot be parsed ({first}); write key=value, and quote values with spaces, braces or commas: 'key={{a: 1}}'."
    if match := re.search(r"Could not delete from config\. '([^']+)' does not exist", text):
        return f"~{match[1]} takes nothing away: there is no config key {match[1]!r}; mtl-run --cfg job shows the keys."
    if match := re.search(
        r"Could not delete from config\. The value of '([^']+)' is (.+) and not (.+)\.", text
    ):
        return f"~{match[1]}={match[3]} takes nothing away: {match[1]} is {match[2]}; write ~{match[1]}."
    if kind in ("InterpolationKeyError", "InterpolationResolutionError", "MissingMandatoryValue"):
        return f"The config cannot be resolved: {text.splitlines()[0]}."
    if kind in ("ConfigKeyError", "ConfigAttributeError"):
        return f"Unknown config key: {text.splitlines()[0]}."
    if match := re.search(r"Could not load '([^']+)/([^'/]+)'", text):
        return f"{match.group(1)}={match.group(2)} does not exist; mtl-run --list {match.group(1)} names what does."
    if match := re.search(r"Cannot merge (\w+) with (\w+).*?full_key: (\S+)", text, re.DOTALL):
        words = {"DictConfig": "a mapping", "ListConfig": "a list"}
        needed, given = (words.get(match.group(i), match.group(i)) for i in (1, 2))
        return f"{match.group(3)} must be {needed}; found {given}."
    if kind in ("ValidationError", "ConfigTypeError", "ConfigValueError"):
        return f"A value has the wrong type: {text.splitlines()[0]}."
    if kind == "MissingConfigException":
        return f"{' '.join(text.split())}"
    return None


def _unknown_key(key: str, text: str, error: BaseException) -> str:
    siblings = _siblings(error)
    if "No match in the defaults list" in text or siblings is None:
        return f"There is no config key or group {key!r}; mtl-run --help lists the groups, mtl-run --cfg job the keys."
    above, _, name = key.rpartition(".")
    if key == "debug":
        return "There is no config key 'debug'; write +debug=true."
    if key in TRACKER_KEYS:
        return f"There is no config key {key!r}; did you mean tracker? mtl-run --list tracker names them."
    names = [*siblings, *(() if above else OPTIONAL_GROUPS)]
    question = suggest_key(name, siblings, above) or f"{suggest(name, names)}."
    return f"There is no config key {key!r}; {question}"


def _siblings(error: BaseException) -> dict[str, Any] | None:
    """Return the keys beside the unknown one, and below them, which OmegaConf's errors carry."""
    from omegaconf import DictConfig, OmegaConf

    nodes = (getattr(link, "parent_node", None) for link in _chain(error))
    node = next((node for node in nodes if isinstance(node, DictConfig)), None)
    tree = OmegaConf.to_container(node) if node is not None else None
    return {str(key): value for key, value in tree.items()} if isinstance(tree, dict) else None
