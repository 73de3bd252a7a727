"""From config nodes to objects: the one place that instantiates, where every error of it is worded."""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from mtl_runner.errors import ConfigError, MtlError, suggest


def make(node: Any, key: str, also: Sequence[str] = (), called: bool = True, **context: Any) -> Any:
    """Instantiate ``node._target_`` with the node's options and those of the context that its signature takes.

    Args:
        node: a mapping with ``_target_``. key: where it stands in the config, for the errors. also: other keys that may stand there.
        called: False for a function that the run calls itself.
        context: objects of the run, passed by name if the target has such a parameter.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import get_object, instantiate

    if not isinstance(node, Mapping) or "_target_" not in node:
        raise ConfigError(
            f"{key} needs a `_target_`, the import path of a class or function, e.g. my_module.MyClass."
        )
    path = str(node["_target_"])
    logging.getLogger(
        "hydra.utils"
    ).disabled = True  # the sentence below says it; Hydra would print a traceback as well
    try:
        target = get_object(path)
    except (ImportError, ValueError, AttributeError, InstantiationException) as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise ConfigError(
            f"{key}._target_={path!r} cannot be imported ({reason}).{_install_hint(path)}"
        ) from error
    if not callable(target):
        raise ConfigError(
            f"{key}._target_={path!r} is a {type(target).__name__}; it must be a class or function."
        )
    known = _parameters_of(target)
    options = {
        name
        for name in node
        if name not in ("_target_", "_partial_", "_args_", "_convert_", "_recursive_")
    }
    for option in options:
        if known is not None and option not in known:
            allowed = [
                name for name in (*known, *also) if name not in (*context, "params", "optimizer")
            ]
            raise ConfigError(
                f"{key}.{option} is not an option of {path.rsplit('.', 1)[-1]}; {suggest(option, allowed)}."
            )
    extra = {
        name: value
        for name, value in context.items()
        if name in _names(target) and name not in options
    }
    try:
        # Partial, then called: instantiate would turn the context's objects into configs.
        partial = instantiate({**node, "_convert_": "all", "_partial_": True})
        return partial(**extra) if called else partial
    except InstantiationException as error:
        raise _unwrapped(error, key, path, node) from error
    except (TypeError, ValueError) as error:
        raise ConfigError(_refusal(key, path, node, error)) from error


def _unwrapped(error: Exception, key: str, path: str, node: Mapping[str, Any]) -> Exception:
    cause = error.__cause__
    while cause is not None and not isinstance(cause, MtlError) and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, MtlError | OSError | MemoryError):
        return cause
    return ConfigError(_refusal(key, path, node, cause or error))


def _refusal(key: str, path: str, node: Mapping[str, Any], error: BaseException) -> str:
    options = (
        ", ".join(f"{name}={value!r}" for name, value in node.items() if name != "_target_")
        or "none"
    )
    return f"{key}: {path} refuses its options ({options}): {_first_line(error)}."


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _install_hint(path: str) -> str:
    return (
        " Install it with: pip install 'mtl-runner[torchjd]'." if path.startswith("torchjd") else ""
    )


def make_function(node: Any, key: str, arguments: int) -> Any:
    """What the target makes, or, if it is a function that still wants so many arguments, that function itself."""
    from hydra.utils import get_object

    called = True
    target: Any = None
    if isinstance(node, Mapping) and "_target_" in node:
        with contextlib.suppress(Exception):  # `make` words what is wrong with it
            target = get_object(str(node["_target_"]))
            wanted = [
                n
                for n, p in _names(target).items()
                if n not in node and p.default is p.empty and p.kind is not p.VAR_KEYWORD
            ]
            called = not (inspect.isfunction(target) and len(wanted) == arguments)
    made = make(node, key, called=called)
    return (
        made if called else functools.update_wrapper(made, target)
    )  # with its attributes, such as `metrics`


def make_update(node: Mapping[str, Any], **context: Any) -> Any:
    """The update; an aggregator of the user's is made first, and the classes of ``groups`` are left to the optimizer factory."""
    node, groups = dict(node), node.get("groups")
    if isinstance(node.get("aggregator"), Mapping):
        context["aggregator"] = make_function(
            node.pop("aggregator"), "update.aggregator", arguments=1
        )
    if isinstance(
        groups, Mapping
    ):  # by another key, since Hydra would make those optimizers without parameters
        node["groups"] = {
            name: {
                ("target" if key == "_target_" else key): value for key, value in settings.items()
            }
            if isinstance(settings, Mapping)
            else settings
            for name, settings in groups.items()
        }
    return make(node, "update", **context)


def optimizer_factory(
    node: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]] | None = None
) -> Any:
    """A function from parameters to an optimizer; fused where the class can and the user did not choose.

    Args:
        node: The config's ``optimizer``, whose ``parts`` are not the class's.
        parts: Settings of single parts of the model, to be checked against the class.
    """
    node = {name: value for name, value in node.items() if name != "parts"}
    for part, settings in (parts or {}).items():
        known = sorted(_optimizer_options(node) - {"params", "self"})
        for name in settings:
            if known and name not in known:
                what = str(node.get("_target_")).rsplit(".", 1)[-1]
                raise ConfigError(
                    f"optimizer.parts.{part}.{name} is not an option of {what}; {suggest(name, known)}."
                )
        # torch looks at the values that are given for all parameters, never at those of a group
        make(
            {**node, **settings},
            f"optimizer.parts.{part}",
            params=[nn.Parameter(torch.zeros(2, 2))],
        )

    def make_optimizer(params: Any, **changes: Any) -> Optimizer:
        target = changes.pop("target", None)
        arguments = {**node, **changes}
        if target is not None:  # another class: of the old one's options only those that it knows
            known = _optimizer_options({"_target_": target})
            arguments = {
                "_target_": target,
                **{k: v for k, v in node.items() if k in known},
                **changes,
            }
        known = _optimizer_options(arguments)
        # torch's fused SGD fails where a parameter that starts late has no momentum yet and others have.
        late = "dampening" in known and bool(arguments.get("momentum"))
        if (
            "fused" in known
            and not late
            and not {"fused", "foreach", "capturable", "differentiable"} & set(arguments)
        ):
            arguments["fused"] = True
        if (
            isinstance(params, list)
            and params
            and isinstance(params[0], dict)
            and "weight_decay" not in known
        ):
            params = [{k: v for k, v in group.items() if k != "weight_decay"} for group in params]
        optimizer = make(arguments, "optimizer", params=params)
        if not isinstance(optimizer, Optimizer):
            raise ConfigError(
                f"optimizer._target_ made a {type(optimizer).__name__}; it must make a torch.optim.Optimizer."
            )
        return optimizer

    return make_optimizer


def takes(node: Any, option: str) -> bool:
    """Whether what a node's ``_target_`` names has a parameter of this name."""
    from hydra.utils import get_object

    with contextlib.suppress(Exception):  # `make` words what is wrong with it
        return option in _names(get_object(str(node["_target_"])))
    return False


def _names(target: Any) -> dict[str, inspect.Parameter]:
    """The parameters of a class or function; none for builtins that do not tell."""
    try:
        return dict(inspect.signature(target).parameters)
    except (ValueError, TypeError):
        return {}


def _parameters_of(target: Any) -> list[str] | None:
    """The names of the options it takes; None if it takes any, or does not tell."""
    found = _names(target)
    return (
        None if not found or any(p.kind is p.VAR_KEYWORD for p in found.values()) else list(found)
    )


def _optimizer_options(node: Mapping[str, Any]) -> set[str]:
    from hydra.utils import get_object

    try:
        return set(_names(get_object(str(node.get("_target_")))))
    except (ImportError, ValueError):
        return set()  # `make` words the error
