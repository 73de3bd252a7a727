"""Stores that processes share."""

from __future__ import annotations

from mtl_runner.compat.torch_stores import connect_store, host_store, store_with_prefix


def test_a_store_is_reached_by_its_port_and_by_a_prefix() -> None:
    """Breaks if torch changes how its stores are made."""
    host = host_store()
    visitor = store_with_prefix("run", connect_store(host.port))
    visitor.set("a", "1")
    assert host.get("run/a") == b"1"
    assert not host.check(["run/b"])
