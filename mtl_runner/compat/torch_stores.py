"""Stores of ``torch.distributed``, which torch exports without types."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

import torch.distributed as dist

#: A store that several processes read and write: ``set``, ``get``, ``add``, ``check``.
Store = Any

LOCALHOST = "127.0.0.1"
_dist = cast("Any", dist)


def host_store() -> Store:
    """Return a new store of this process, which others of this machine reach by its ``port``."""
    return _dist.TCPStore(LOCALHOST, 0, is_master=True, wait_for_workers=False)


def connect_store(port: int) -> Store:
    """Return the store of another process of this machine."""
    return _dist.TCPStore(LOCALHOST, port, is_master=False)


def private_store() -> Store:
    """Return a store that no other process reaches.

    Example:
        >>> store = private_store()
        >>> store.set("a", "1")
        >>> store.get("a")
        b'1'
    """
    return _dist.HashStore()


def store_with_prefix(prefix: str, store: Store) -> Store:
    """Return a store whose keys are those of another one, behind a prefix."""
    return _dist.PrefixStore(prefix, store)


def torchrun_store() -> Store:
    """Return the store that ``torchrun`` gives the processes it starts."""
    store, _, _ = next(iter(_dist.rendezvous("env://")))
    store.set_timeout(timedelta(days=1))
    return store
