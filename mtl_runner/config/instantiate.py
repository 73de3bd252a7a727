"""Making objects from config nodes: the only place that calls Hydra's ``instantiate``.

Whatever goes wrong there becomes a :class:`~mtl_runner.errors.ConfigError` of one sentence.
"""

from __future__ import annotations

import contextlib
import copy
import difflib
import functools
import importlib
import inspect
import logging
import re
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from mtl_runner.config.typed_options import check_types
from mtl_runner.errors import CodeError, ConfigError, MtlError, suggest
from mtl_runner.errors.keys import suggest_key

# Keys of a node that are Hydra's, not options of the target.
HYDRA_KEYS = ("_target_", "_partial_", "_args_", "_convert_", "_recursive_")
# What :func:`suggest` says of a class without options.
NOTHING_ALLOWED = "allowed: none"


def make(
    node: Any, key: str, other_keys: Collection[str] = (), called: bool = True, **context: Any
) -> Any:
    """Instantiate ``node._target_`` with the node's options and objects of the run.

    Args:
        node: A mapping with ``_target_`` and options.
        key: The key of the node in the config, for the errors.
        other_keys: Keys that the node may hold although the target does not take them; the caller
            has removed them, and errors list them among the allowed ones. As a mapping to their
            values, errors know also of what is below them.
        called: False returns the target with its options bound, not yet called.
        **context: Objects of the run; each is passed if the target has a parameter of its name
            and the node does not set it.

    Raises:
        ConfigError: If the target cannot be imported, has no such option, or refuses its options.
        CodeError: If the target does not hand on what its base class needs.
        MtlError: If the target itself raises one.

    Example:
        >>> make({"_target_": "torch.nn.Linear", "out_features": 2}, "model.head", in_features=3)
        Linear(in_features=3, out_features=2, bias=True)
        >>> make({"_target_": "torch.nn.ReLU", "inplce": 1}, "model.act")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        mtl_runner.errors.ConfigError: model.act.inplce is not an option of ReLU; did you mean ...
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    if not isinstance(node, Mapping) or "_target_" not in node:
        raise ConfigError(
            f"{key} needs a `_target_`, the import path of a class or function, e.g. my_module.MyClass."
        )
    path = str(node["_target_"])
    target = import_target(path, f"{key}._target_")
    if not callable(target):
        raise ConfigError(
            f"{key}._target_={path!r} is a {type(target).__name__}; it must be a class or function."
        )
    known = _option_names(target)
    options = {name for name in node if name not in HYDRA_KEYS}
    unknown = [] if known is None else [name for name in node if name in options - {*known}]
    if len(unknown) > 1 and "." not in key:
        # Somebody has changed the _target_ of an option of the group, whose other keys are left.
        away = " ".join(f"'~{key}.{name}'" for name in unknown)
        raise ConfigError(
            f"{', '.join(f'{key}.{name}' for name in unknown)} are no options of {path.rsplit('.', 1)[-1]}; take them away with {away}, or write a file conf/{key}/<name>.yaml with this _target_ for {key}=<name>."
        )
    for option in options:
        if known is not None and option not in known:
            given_by_run = (*context, "params", "optimizer")
            allowed = [name for name in (*known, *other_keys) if name not in given_by_run]
            end = suggest(option, allowed)
            if not end.startswith("did you mean"):
                removed = other_keys if isinstance(other_keys, Mapping) else {}
                elsewhere = {name: node[name] for name in node if name != option} | dict(removed)
                end = f"{suggest_key(option, elsewhere, above=key)} {end}".strip()
            if end == NOTHING_ALLOWED and "." not in key:
                end += f" (mtl-run --list {key} shows what else there is, with options)"
            raise ConfigError(
                f"{key}.{option} is not an option of {path.rsplit('.', 1)[-1]}; {end}."
            )
    parameters = _parameters(target)
    objects = {
        name: value for name, value in context.items() if name in parameters and name not in options
    }
    # What nodes among the options make has types of its own.
    makes_nodes = node.get("_recursive_", True)
    given = {
        name: value
        for name, value in node.items()
        if name not in HYDRA_KEYS and not (makes_nodes and targets_of(value))
    }
    try:
        # Bound first, called later: instantiate would turn the context's objects into configs.
        is_plain = isinstance(node, dict) and len(given) == len(options)
        if is_plain and not {"_partial_", "_args_"} & node.keys():
            # Nothing in it is to be made, so there is nothing for Hydra to do.
            partial = functools.partial(target, **copy.deepcopy(given))
        else:
            partial = instantiate(
                {**node, "_convert_": "all", "_partial_": True}, **_execution_whitelist(node)
            )
        made = partial(**objects) if called else partial
    except InstantiationException as error:
        check_types(target, given, key)
        raise _cause(error, key, path, node) from error
    except (MtlError, OSError, MemoryError):
        raise
    except Exception as error:
        check_types(target, given, key)
        if sentence := _mistake_inside(target, {**given, **objects}, key, error):
            raise CodeError(sentence) from error
        if isinstance(error, TypeError | ValueError):
            raise ConfigError(_refusal(key, path, node, error)) from error
        raise
    # The target's own sentences about its options come first.
    check_types(target, given, key)
    return made


def import_target(path: str, key: str) -> Any:
    """Return the class or function at an import path.

    Args:
        path: The import path, e.g. ``"my_module.MyClass"``.
        key: The key in the config that holds it, for the errors.

    Raises:
        ConfigError: If there is none.

    Example:
        >>> import_target("torch.nn.ReLU", "model._target_")
        <class 'torch.nn.modules.activation.ReLU'>
    """
    from hydra.errors import InstantiationException
    from hydra.utils import get_object

    # Hydra would log a traceback before the sentence below.
    logging.getLogger("hydra.utils").disabled = True
    try:
        return get_object(path)
    except (ImportError, ValueError, AttributeError, InstantiationException) as error:
        reason = _missing_name(path) or str(error.__cause__ or error).strip().splitlines()[0]
        raise ConfigError(
            f"{key}={path!r} cannot be imported ({reason}).{_install_hint(path)}"
        ) from error


def _missing_name(path: str) -> str:
    """Return which name of an import path does not exist where it is looked for; else ``""``."""
    container: Any = None
    parts = path.split(".")
    for i, name in enumerate(parts):
        module = ".".join(parts[: i + 1])
        try:
            if hasattr(container, name):
                container = getattr(container, name)
            else:
                container = importlib.import_module(module)
        except ModuleNotFoundError as error:
            is_inside = error.name != module and not str(error).endswith("is not a package")
            if i == 0 or is_inside:
                # A module that exists imports one that does not.
                return ""
            public = [entry for entry in dir(container) if not entry.startswith("_")]
            near = difflib.get_close_matches(name, public, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            return f"{'.'.join(parts[:i])} has no {name!r}{hint}"
        except Exception:
            return ""
    return ""


def import_path(target: Any) -> str:
    """Return where a class or function is defined; ``""`` for an object that does not know.

    Example:
        >>> import_path(nn.ReLU)
        'torch.nn.modules.activation.ReLU'
    """
    module, name = getattr(target, "__module__", None), getattr(target, "__qualname__", None)
    return f"{module}.{name}" if module and name else ""


def targets_of(tree: Any) -> list[str]:
    """Return the import paths that a config tree names, at every depth.

    Example:
        >>> targets_of({"_target_": "a.Net", "layers": [{"_target_": "b.Layer"}]})
        ['a.Net', 'b.Layer']
    """
    if isinstance(tree, Mapping):
        paths = [tree["_target_"]] if isinstance(tree.get("_target_"), str) else []
        return [*paths, *(path for value in tree.values() for path in targets_of(value))]
    if isinstance(tree, list | tuple):
        return [path for value in tree for path in targets_of(value)]
    return []


def _execution_whitelist(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return the argument by which Hydra 1.4 and later allow the targets of a node.

    Whether a node may be trusted is decided before it gets here, by the user who wrote it or in
    :mod:`~mtl_runner.config.trust`, so all that it names is allowed, by the names in the node and
    by where the objects are defined.
    """
    from hydra.utils import get_object, instantiate

    if "_execution_whitelist_" not in inspect.signature(instantiate).parameters:
        return {}
    names = targets_of(node)
    for path in tuple(names):
        # Hydra raises the error if the target cannot be imported.
        with contextlib.suppress(Exception):
            names.append(import_path(get_object(path)))
    return {"_execution_whitelist_": [name for name in dict.fromkeys(names) if name]}


def _cause(error: Exception, key: str, path: str, node: Mapping[str, Any]) -> Exception:
    """Return the error to raise for one of Hydra's: the user's own, or a sentence about it."""
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


def _mistake_inside(target: Any, arguments: Mapping[str, Any], key: str, error: Exception) -> str:
    """Return that a class does not hand on what its base needs; empty for any other error."""
    missing = re.match(r"(\S+)\(\) missing \d+ required [a-z -]*arguments?: (.+)", str(error))
    if missing is None:
        return ""
    try:
        inspect.signature(target).bind(**arguments)
    except (TypeError, ValueError):  # it is the node that lacks an option
        return ""
    handed_on = ", ".join(re.findall(r"'(\w+)'", missing[2]))
    return f"{key}: {target.__module__}.{target.__qualname__} calls {missing[1]} without {handed_on}; let its __init__ take {handed_on}, too, and call super().__init__({handed_on})."


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _install_hint(path: str) -> str:
    return (
        " Install it with: pip install 'mtl-runner[torchjd]'." if path.startswith("torchjd") else ""
    )


def make_function(node: Any, key: str, arguments: int) -> Any:
    """Return what the target makes, or the target itself if it is the function that is wanted.

    A function is wanted where its node leaves exactly as many required parameters open as the run
    passes when it calls the function.

    Args:
        node: A mapping with ``_target_`` and options.
        key: The key of the node in the config, for the errors.
        arguments: Number of arguments that the run passes.

    Example:
        >>> node = {"_target_": "torch.nn.functional.mse_loss", "reduction": "sum"}
        >>> loss = make_function(node, "data.losses.a", arguments=2)
        >>> loss(torch.zeros(3), torch.ones(3))
        tensor(3.)
    """
    from hydra.utils import get_object

    called = True
    target: Any = None
    if isinstance(node, Mapping) and "_target_" in node:
        # `make` raises the error if the target cannot be imported.
        with contextlib.suppress(Exception):
            target = get_object(str(node["_target_"]))
            required = [
                name
                for name, parameter in _parameters(target).items()
                if name not in node
                and parameter.default is parameter.empty
                and parameter.kind is not parameter.VAR_KEYWORD
            ]
            called = not (inspect.isfunction(target) and len(required) == arguments)
    made = make(node, key, called=called)
    # The wrapper keeps attributes of the function, such as `metrics`.
    return made if called else functools.update_wrapper(made, target)


def make_update(node: Mapping[str, Any], **context: Any) -> Any:
    """Return the update that a node describes.

    A user's own aggregator is made first. The optimizer classes under ``groups`` are left to
    :func:`optimizer_factory`, which knows their parameters.

    Args:
        node: The config's ``update``.
        **context: Objects of the run, as in :func:`make`.
    """
    node, groups = dict(node), node.get("groups")
    if isinstance(node.get("aggregator"), Mapping):
        context["aggregator"] = make_function(
            node.pop("aggregator"), "update.aggregator", arguments=1
        )
    if isinstance(groups, Mapping):
        node["groups"] = {name: _hidden_target(settings) for name, settings in groups.items()}
    return make(node, "update", **context)


def _hidden_target(settings: Any) -> Any:
    """Return settings with ``target`` for ``_target_``, which Hydra would instantiate."""
    if not isinstance(settings, Mapping):
        return settings
    return {("target" if key == "_target_" else key): value for key, value in settings.items()}


def optimizer_factory(
    node: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]] | None = None
) -> Any:
    """Return a function from parameters to an optimizer.

    The function takes torch's parameters or parameter groups, and options that replace those of the
    config; ``target`` among them replaces the class. The optimizer is fused where its class can be
    and the config does not choose.

    Args:
        node: The config's ``optimizer``; its ``parts`` are not options of the class.
        parts: Settings of parts of the model, ``{part: {option: value}}``, checked here.

    Raises:
        ConfigError: If a setting of a part is not an option of the class, or has a wrong value.

    Example:
        >>> make_optimizer = optimizer_factory({"_target_": "torch.optim.SGD", "lr": 0.1})
        >>> optimizer = make_optimizer([nn.Parameter(torch.zeros(1))])
        >>> type(optimizer).__name__, optimizer.defaults["lr"], optimizer.defaults["fused"]
        ('SGD', 0.1, True)
    """
    node = {name: value for name, value in node.items() if name != "parts"}
    for part, settings in (parts or {}).items():
        known = sorted(_optimizer_options(node) - {"params", "self"})
        for name in settings:
            if known and name not in known:
                class_name = str(node.get("_target_")).rsplit(".", 1)[-1]
                raise ConfigError(
                    f"optimizer.parts.{part}.{name} is not an option of {class_name}; {suggest(name, known)}."
                )
        # torch checks values for all parameters, but not those of a group: try them on one here.
        parameter = nn.Parameter(torch.zeros(2, 2))
        make({**node, **settings}, f"optimizer.parts.{part}", params=[parameter])

    def make_optimizer(params: Any, **changes: Any) -> Optimizer:
        target = changes.pop("target", None)
        arguments = {**node, **changes}
        if target is not None:
            # Another class gets only those of the config's options that it knows.
            known = _optimizer_options({"_target_": target})
            arguments = {
                "_target_": target,
                **{k: v for k, v in node.items() if k in known},
                **changes,
            }
        known = _optimizer_options(arguments)
        # torch's fused SGD fails if a parameter that starts late has no momentum yet.
        momentum = "dampening" in known and bool(arguments.get("momentum"))
        chosen = {"fused", "foreach", "capturable", "differentiable"} & set(arguments)
        if "fused" in known and not momentum and not chosen:
            arguments["fused"] = True
        grouped = isinstance(params, list) and params and isinstance(params[0], dict)
        if grouped and "weight_decay" not in known:
            params = [{k: v for k, v in group.items() if k != "weight_decay"} for group in params]
        optimizer = make(arguments, "optimizer", params=params)
        if not isinstance(optimizer, Optimizer):
            raise ConfigError(
                f"optimizer._target_ made a {type(optimizer).__name__}; it must make a torch.optim.Optimizer."
            )
        return optimizer

    return make_optimizer


def takes(node: Any, option: str) -> bool:
    """Return whether the class or function of a node has a parameter of this name.

    Example:
        >>> takes({"_target_": "torch.nn.Linear"}, "bias")
        True
    """
    from hydra.utils import get_object

    # `make` raises the error if the target cannot be imported.
    with contextlib.suppress(Exception):
        return option in _parameters(get_object(str(node["_target_"])))
    return False


def _parameters(target: Any) -> dict[str, inspect.Parameter]:
    """Return the parameters of a class or function; none for builtins without a signature."""
    try:
        return dict(inspect.signature(target).parameters)
    except (ValueError, TypeError):
        return {}


def _option_names(target: Any) -> list[str] | None:
    """Return the names of the options of a target; None if it takes any, or has no signature."""
    parameters = _parameters(target)
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return None if not parameters or takes_any else list(parameters)


def _optimizer_options(node: Mapping[str, Any]) -> set[str]:
    """Return the names of the options of an optimizer's class; none if it cannot be imported."""
    from hydra.utils import get_object

    try:
        return set(_parameters(get_object(str(node.get("_target_")))))
    except (ImportError, ValueError):
        return set()
