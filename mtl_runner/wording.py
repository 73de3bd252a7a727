"""Hydra's and OmegaConf's errors as one sentence each."""

from __future__ import annotations

import re

from mtl_runner.errors import MtlError, suggest


def worded(error: BaseException) -> str:
    """What is wrong and what would be right, in one sentence, for anything the command line can meet."""
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
        from mtl_runner.runner import sentence as run_sentence

        return run_sentence(cause)
    if type(cause).__name__ in ("TerminatedWorkerError", "BrokenProcessPool"):
        return (
            "A worker process was killed (out of memory, or by hand) and took the results of the running jobs with it; "
            "start the same command again with hydra.sweep.dir=<sweep directory> resume=true."
        )
    text = " ".join(str(cause).split()) or type(cause).__name__
    return f"{type(cause).__name__}: {text} (HYDRA_FULL_ERROR=1 shows the traceback.)"


def _chain(error: BaseException) -> list[BaseException]:
    links = [error]
    while (following := links[-1].__cause__ or links[-1].__context__) is not None and following not in links:
        links.append(following)
    return links


def _hydra_sentence(error: BaseException) -> str | None:
    kind, text = type(error).__name__, str(error)
    if match := re.search(
        r"Could not find '([^']+)/([^'/]+)'.*?Available options in '[^']+':\s*(.*?)(?:\n\S|\Z)", text, re.DOTALL
    ):
        group, option, options = match.groups()
        return f"{group}={option} does not exist; {suggest(option, options.split())}."
    if match := re.search(
        r"Could not override '([^']+)'\.?\s*(No match in the defaults list|Key '[^']*' is not in struct)?", text
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
    if kind in ("InterpolationKeyError", "InterpolationResolutionError", "MissingMandatoryValue"):
        return f"The config cannot be resolved: {text.splitlines()[0]}."
    if kind in ("ConfigKeyError", "ConfigAttributeError"):
        return f"Unknown config key: {text.splitlines()[0]}."
    if kind in ("ValidationError", "ConfigTypeError", "ConfigValueError"):
        return f"A value has the wrong type: {text.splitlines()[0]}."
    if kind == "MissingConfigException":
        return f"{' '.join(text.split())}"
    return None


def _unknown_key(key: str, text: str, error: BaseException) -> str:
    siblings = _siblings(error)
    if "No match in the defaults list" in text or siblings is None:
        return f"There is no config key or group {key!r}; mtl-run --help lists the groups, mtl-run --cfg job the keys."
    return f"There is no config key {key!r}; {suggest(key.rsplit('.', 1)[-1], siblings)} (add a new key with +{key}=...)."


def _siblings(error: BaseException) -> list[str] | None:
    """The keys beside the wrong one, which OmegaConf's errors carry."""
    from omegaconf import DictConfig

    nodes = (getattr(link, "parent_node", None) for link in _chain(error))
    return next(([str(name) for name in node] for node in nodes if isinstance(node, DictConfig)), None)
