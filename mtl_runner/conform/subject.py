"""The class under test: where it is, and how an instance is made for T tasks."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from torch import nn

from mtl_runner.config.instantiate import import_target
from mtl_runner.errors import ConfigError, MtlError, suggest
from mtl_runner.tasks.task import Task
from mtl_runner.version import __version__
from mtl_runner.weighting.base import Weighting

# What authors call the number of tasks, the names of the tasks and the shared parameters.
COUNTS = frozenset(
    (
        *("num_tasks", "n_tasks", "nums_task", "num_task", "task_num", "n_task", "tasks_num"),
        *("num_losses", "n_losses", "loss_num", "num_loss", "num", "n", "shape"),
    )
)
NAMES = frozenset(("output_feature_names", "task_names", "names", "tasks_names"))
PARAMETER = frozenset(("grad_norm_parameters", "shared_parameter", "last_shared_parameter"))
PARAMETERS = frozenset(("shared_params", "shared_parameters", "last_shared_parameters"))
KEYWORDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def task_names(tasks: int) -> list[str]:
    """Return the names of the tasks of all checks.

    Example:
        >>> task_names(2)
        ['task_0', 'task_1']
    """
    return [f"task_{index}" for index in range(tasks)]


@dataclass(frozen=True)
class Subject:
    """A class or function under test.

    Attributes:
        path: Its import path.
        target: The class or function.
        options: Options of its constructor; of a function, arguments of every call.
        method: The name of the method that is called at every step; empty: ``backward`` if there is
            one, else the object itself.

    Example:
        >>> subject = Subject("torch.nn.Identity", nn.Identity)
        >>> subject.make(3, nn.Parameter())
        Identity()
    """

    path: str
    target: Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    method: str = ""

    @property
    def fixed_count(self) -> bool:
        """Whether the options hold a number of tasks, so that no other can be tried."""
        return bool(COUNTS & set(self.options))

    @functools.cached_property
    def package(self) -> str:
        """The package on the index that holds it, with its version; its module if there is none."""
        module = self.path.split(".")[0]
        if module == "mtl_runner":
            return f"mtl-runner {__version__}"
        names = metadata.packages_distributions().get(module, ())
        return f"{names[0]} {metadata.version(names[0])}" if names else module

    def make(self, tasks: int, shared: nn.Parameter) -> Any:
        """Return a new instance for a number of tasks; the function itself for a function.

        Args:
            tasks: Number of tasks.
            shared: The parameter that the tasks share, for a constructor that asks for it.

        Raises:
            ConfigError: If the constructor needs what nobody knows, or refuses what it is given.
        """
        if not inspect.isclass(self.target):
            return functools.partial(self.target, **self.options) if self.options else self.target
        arguments = {**self._known(tasks, shared), **self.options}
        try:
            made = self.target(**arguments)
        except MtlError:
            raise
        except Exception as error:  # somebody else's constructor may raise anything
            raise ConfigError(
                f"{self.path} cannot be made with {', '.join(arguments) or 'no argument'} ({first_line(error)}); give what it needs with --set NAME=VALUE."
            ) from error
        return made.double() if isinstance(made, nn.Module) else made

    def _known(self, tasks: int, shared: nn.Parameter) -> dict[str, Any]:
        """Return the arguments of the constructor that every check knows."""
        known: dict[str, Any] = {}
        missing = []
        for name, parameter in parameters_of(self.target).items():
            required = parameter.default is parameter.empty and parameter.kind in KEYWORDS
            if name in self.options:
                continue
            if name == "tasks" and issubclass(self.target, Weighting):  # type: ignore[arg-type]
                known[name] = [Task(task) for task in task_names(tasks)]
            elif name in COUNTS:
                known[name] = tasks
            elif name in PARAMETER:
                known[name] = shared
            elif name in PARAMETERS:
                known[name] = [shared]
            elif name in NAMES and required:
                known[name] = task_names(tasks)
            elif required:
                missing.append(name)
        if missing:
            raise ConfigError(
                f"{self.path} needs {' and '.join(missing)}; give {'it' if len(missing) == 1 else 'each'} with --set {missing[0]}=VALUE."
            )
        return known


def load_subject(path: str, options: Mapping[str, Any], method: str = "") -> Subject:
    """Return the class or function at an import path.

    Args:
        path: The import path, ``module.Class``.
        options: Options of the constructor.
        method: The name of the method to call at every step.

    Raises:
        ConfigError: If there is none, it cannot be called, or has no such option or method.

    Example:
        >>> load_subject("torchjd.scalarization.UW", {}).package.split()[0]
        'torchjd'
    """
    if "." not in path or path.startswith(".") or "/" in path:
        raise ConfigError(
            f"{path!r} is no import path; name the class as module.Class, as in torchjd.scalarization.FAMO or my_file.MyClass."
        )
    target = import_target(path, "MODULE.CLASS")
    if not callable(target):
        raise ConfigError(
            f"{path} is a {type(target).__name__}; name a class, or a function of losses or of gradients."
        )
    known = parameters_of(target)
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    for name in options:
        if known and not takes_any and name not in known:
            raise ConfigError(f"{name} is not an option of {path}; {suggest(name, known)}.")
    if method and not callable(getattr(target, method, None)):
        public = [name for name in dir(target) if not name.startswith("_")]
        raise ConfigError(f"{path} has no method {method!r}; {suggest(method, public)}.")
    return Subject(path, target, dict(options), method)


def parameters_of(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters of a class or function; none for one without a signature."""
    try:
        return dict(inspect.signature(target).parameters)
    except (TypeError, ValueError):
        return {}


def first_line(error: BaseException) -> str:
    r"""Return the kind of an error and the first line of its text, for a line of the card.

    Example:
        >>> first_line(ValueError("too small\nby far"))
        'ValueError: too small'
    """
    text = (str(error).strip() or "no text").splitlines()[0].rstrip(".")
    return f"{type(error).__name__}: {text[:160]}"
