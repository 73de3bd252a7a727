"""A model of which every process of a run keeps a part (``trainer.parallel=fsdp``).

The engine is torch's ``fully_shard``: a block of the model is put together when it computes, and
afterwards each process keeps its part again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.overrides import TorchFunctionMode

from mtl_runner.config.instantiate import import_target
from mtl_runner.config.settings import TrainerOptions
from mtl_runner.data.dataset import Split
from mtl_runner.errors import ConfigError, ModelError
from mtl_runner.experiment.forward import ForwardPass
from mtl_runner.gradients.parameters import Parameters
from mtl_runner.gradients.ranks import Ranks
from mtl_runner.gradients.shards import Shards, cut_like
from mtl_runner.models.frozen_parts import frozen_for_a_time
from mtl_runner.weighting.protocols import ObservesTraces

# Modules that hold a list of others.
LISTS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)


def check_sharding(
    options: TrainerOptions,
    update: Mapping[str, Any],
    model: nn.Module,
    weighting: object = None,
) -> None:
    """Check that a run can be trained by processes of which each has a part of the model.

    Args:
        options: The options of the trainer.
        update: The config of the update.
        model: The model, before it is sharded.
        weighting: The weighting.

    Raises:
        ConfigError: If an option, the update or the weighting needs whole gradients in one process.
        ModelError: If the model has a parameter that cannot be cut.
    """
    instead = "use trainer.parallel=data, in which every process has all of them"
    target = import_target(str(update["_target_"]), "update._target_")
    if not getattr(target, "works_on_shards", False):
        raise ConfigError(
            f"update._target_={update['_target_']} needs whole gradients, of which trainer.parallel=fsdp gives each process a part; {instead}, or the update joint, per_task or jacobian."
        )
    if isinstance(weighting, ObservesTraces):
        raise ConfigError(
            f"The weighting {type(weighting).__name__} needs the whole model, of which trainer.parallel=fsdp gives each process a part; use trainer.parallel=data."
        )
    if options.accumulate:
        raise ConfigError(
            "trainer.parallel=fsdp cannot be had with trainer.accumulate, whose parts differ in number between the processes; leave trainer.accumulate out and lower data.batch_size, or add devices."
        )
    if options.precision == "fp16":
        raise ConfigError(
            "trainer.parallel=fsdp cannot be had with trainer.precision=fp16, which looks for overflows in whole gradients; use bf16."
        )
    if options.channels_last is True:
        raise ConfigError(
            "trainer.parallel=fsdp cuts parameters along their first dimension, so their channels cannot come last; leave trainer.channels_last out."
        )
    if any(parts.until is not None for parts in frozen_for_a_time(model)):
        raise ConfigError(
            "trainer.parallel=fsdp cannot release parts that are frozen for a time; freeze them for the whole run (model.freeze.until=null), or use trainer.parallel=data."
        )
    for name, parameter in model.named_parameters():
        if not parameter.dim():
            raise ModelError(
                f"trainer.parallel=fsdp cannot cut the model's parameter {name!r}, which is a single number of shape (); give it the shape (1,), or use trainer.parallel=data."
            )


def share_out(
    forward: ForwardPass,
    parameters: Parameters,
    rows: Split,
    ranks: Ranks,
    copied: nn.Module | None = None,
) -> Parameters:
    """Leave every process a part of each parameter of a model, in place.

    Args:
        forward: The forward pass of the model, which is the same in all processes.
        parameters: Its parameters, with the tasks that own each.
        rows: A few rows, which go through the model once.
        ranks: The processes.
        copied: A copy of the model, which is shared out alike; None: there is none.

    Returns:
        The parameters as they are now.
    """
    model, device = forward.model, forward.device

    def call() -> None:
        cuda = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda), forward.evaluating():
            forward.outputs(rows.inputs)

    names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
    blocks = blocks_of(model, call)
    for module in (model, copied):
        if module is not None:
            shard_model(module, blocks, ranks, device)
    return sharded_parameters(parameters, names, model, ranks)


def shard_model(
    model: nn.Module,
    blocks: Sequence[str],
    ranks: Ranks,
    device: torch.device,
) -> None:
    """Leave every process a part of each parameter of a model, in place.

    Args:
        model: The model, the same in all processes.
        blocks: The names of the modules that are put together one at a time; what is in none of
            them is put together while the whole model computes.
        ranks: The processes.
        device: The device of this process.

    Raises:
        ConfigError: If torch is too old.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    if not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"):
        raise ConfigError(
            f"trainer.parallel=fsdp needs a newer torch; found {torch.__version__}: pip install -U torch, or use trainer.parallel=data."
        )
    mesh = init_device_mesh(device.type, (ranks.size,))
    for module in [*map(model.get_submodule, blocks), model]:
        sharded = cast("Any", fully_shard)(module, mesh=mesh, reshard_after_forward=True)
        # The losses of the processes are shares of those of the batch: gradients are summed.
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)


def sharded_parameters(
    before: Parameters, names: Mapping[Tensor, str], model: nn.Module, ranks: Ranks
) -> Parameters:
    """Return the parameters of a sharded model, with what was found before it was sharded.

    Args:
        before: The parameters as they were.
        names: Their names in the model.
        model: The sharded model.
        ranks: The processes.
    """
    named = dict(model.named_parameters(remove_duplicate=False))
    tensors = [named[names[tensor]] for tensor in before.tensors]
    return replace(
        before,
        tensors=tensors,
        last_shared=[named[names[tensor]] for tensor in before.last_shared],
        shards=Shards(tensors, ranks),
    )


def optimizers_of_shards(
    make_optimizer: Callable[..., Optimizer], parameters: Parameters
) -> Callable[..., Optimizer]:
    """Return a factory of optimizers that was tried on a sharded parameter.

    torch has not all of its fused steps for such parameters; the others are taken unfused.

    Args:
        make_optimizer: Makes an optimizer over parameters.
        parameters: The sharded parameters of the model.

    Raises:
        ConfigError: If the optimizer cannot take a step.
    """
    like = parameters.tensors[0]
    trial = nn.Parameter(cut_like(torch.zeros(3, 2, dtype=like.dtype, device=like.device), like))
    trial.grad = cut_like(torch.ones(3, 2, dtype=like.dtype, device=like.device), like)
    optimizer = make_optimizer([trial])
    factories = (make_optimizer, partial(make_optimizer, fused=False))
    for factory in factories:
        # A step of torch or of a user may raise anything, and not every class can be fused.
        with contextlib.suppress(Exception):
            factory([trial]).step()
            return factory
    raise ConfigError(
        f"The optimizer {type(optimizer).__name__} cannot take a step with parameters of which trainer.parallel=fsdp gives each process a part; use Adam, AdamW, SGD or RMSprop, or trainer.parallel=data."
    )


def blocks_of(model: nn.Module, call: Callable[[], Any]) -> list[str]:
    """Return the names of the modules of a model that are put together one at a time.

    These are the elements of its lists of modules (``ModuleList``, ``ModuleDict``, ``Sequential``):
    the blocks of a backbone, the heads of the tasks. An element that holds more than half of the
    model is opened, and so is one whose parameters are used by others, or that is never called.

    Args:
        model: The model.
        call: Calls the model once.

    Example:
        >>> trunk = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 3))
        >>> model = nn.Sequential(trunk, nn.Linear(3, 1))
        >>> blocks_of(model, lambda: model(torch.ones(1, 2)))
        ['0.0', '0.2', '1']
    """
    users = _users_of_parameters(model, call)
    names = {module: name for name, module in model.named_modules()}
    half = sum(parameter.numel() for parameter in model.parameters()) / 2

    def is_alone(module: nn.Module) -> bool:
        return all(module in users.get(parameter, ()) for parameter in module.parameters())

    def blocks_in(module: nn.Module) -> Iterator[nn.Module]:
        for child in module.children():
            size = sum(parameter.numel() for parameter in child.parameters())
            is_block = isinstance(module, LISTS) and not isinstance(child, LISTS)
            if not size:
                continue
            if not (is_block and is_alone(child)):
                yield from blocks_in(child)
            elif size > half and (inner := list(blocks_in(child))):
                yield from inner
            else:
                yield child

    return [names[module] for module in dict.fromkeys(blocks_in(model))]


def _users_of_parameters(model: nn.Module, call: Callable[[], Any]) -> dict[Tensor, set[nn.Module]]:
    """Return for each parameter the modules inside whose calls all its uses lie."""
    users: dict[Tensor, set[nn.Module]] = {}
    calls: list[nn.Module] = []
    parameters = set(model.parameters())

    class UsesOfParameters(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            for tensor in _tensors_in((args, kwargs or {})):
                if tensor in parameters:
                    users[tensor] = users.get(tensor, set(calls)) & set(calls)
            return func(*args, **(kwargs or {}))

    def enter(module: nn.Module, *_: Any) -> None:
        calls.append(module)

    def leave(*_: Any) -> None:
        calls.pop()

    with contextlib.ExitStack() as stack:
        for module in model.modules():
            stack.callback(module.register_forward_pre_hook(enter).remove)
            stack.callback(module.register_forward_hook(leave).remove)
        with UsesOfParameters():
            call()
    return users


def _tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors among arguments of a function."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from _tensors_in(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _tensors_in(entry)
