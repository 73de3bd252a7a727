"""Fixtures of all tests: one thread, double precision, real data, and the typed commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.support.commands import Command, Result, Server

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True, scope="session")
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep generated and packed data in a folder of this test run, not in the user's cache."""
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Run torch on one thread, so that sums are added up in the same order everywhere."""
    torch.set_num_threads(1)


@pytest.fixture
def float64() -> Iterator[None]:
    """Make float64 the default precision, so that a tolerance speaks of the mathematics."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def shared_data() -> Path:
    """Return the folder of real data, which is not part of the project; skip without it."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the folder of real data (../shared/data) is not on this machine")
    return SHARED_DATA


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start the process that runs the commands, once for all tests."""
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.process.stdin.close()  # type: ignore[union-attr]
    server.process.stdout.close()  # type: ignore[union-attr]
    server.process.wait(timeout=30)


@pytest.fixture
def mtl(server: Server, tmp_path: Path) -> Command:
    """Return a function: ``mtl("mtl-run", "seed=1")`` runs the command in ``tmp_path``."""

    def run(
        *argv: str,
        cwd: Path | None = None,
        meanwhile: Callable[[int], None] | None = None,
        **env: str,
    ) -> Result:
        return server.run(*argv, cwd=cwd or tmp_path, env=env, meanwhile=meanwhile)

    return run
