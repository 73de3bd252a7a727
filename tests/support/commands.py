"""The commands as a user types them: real processes, real files."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.screen import Terminal

# Options of a run of a tenth of a second.
QUICK = ("model.hidden=[16]", "trainer.epochs=3", "record.plots=none")


@dataclass(frozen=True)
class Result:
    """The exit code and the output of a command that has ended."""

    code: int
    out: str
    err: str

    @property
    def last_line(self) -> str:
        """The last line of stderr; empty if there is none."""
        return self.err.strip().splitlines()[-1] if self.err.strip() else ""


class Server:
    """A process of :mod:`tests.support.server`, which forks for every command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        script = Path(__file__).with_name("server.py")
        environment = {**os.environ, "PYTHONWARNINGS": "error::ResourceWarning"}
        self.process = subprocess.Popen(
            [sys.executable, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=folder,
        )

    def run_on_terminal(self, *argv: str, cwd: Path, env: dict[str, str]) -> Result:
        """Run a command on a terminal, and return how it ended; ``out`` is all that it wrote.

        Args:
            *argv: The command and its arguments.
            cwd: The directory it runs in.
            env: Variables that are added to the environment.
        """
        terminal = Terminal()
        code = self._run(argv, (terminal.path, terminal.path), cwd, env)
        return Result(code, terminal.close(), "")

    def run(
        self,
        *argv: str,
        cwd: Path,
        env: dict[str, str],
        meanwhile: Callable[[int], None] | None = None,
    ) -> Result:
        """Run a command, and return how it ended.

        Args:
            *argv: The command and its arguments.
            cwd: The directory it runs in.
            env: Variables that are added to the environment.
            meanwhile: Called with the process id in a thread, while the command runs.
        """
        out, err = self.folder / "out.txt", self.folder / "err.txt"
        code = self._run(argv, (str(out), str(err)), cwd, env, meanwhile)
        return Result(code, out.read_text(), err.read_text())

    def _run(
        self,
        argv: Sequence[str],
        streams: tuple[str, str],
        cwd: Path,
        env: dict[str, str],
        meanwhile: Callable[[int], None] | None = None,
    ) -> int:
        """Run a command whose output and errors go to these files; return its exit code."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        out, err = streams
        request = {"argv": list(argv), "cwd": str(cwd), "env": env, "out": out, "err": err}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        pid = int(self.process.stdout.readline())
        if meanwhile is not None:
            thread = threading.Thread(target=meanwhile, args=(pid,))
            thread.start()
        code = int(self.process.stdout.readline())
        if meanwhile is not None:
            thread.join()
        return code


Command = Callable[..., Result]


def send(number: signal.Signals, after: float | Callable[[], bool]) -> Callable[[int], None]:
    """Return a function that sends a signal to a process, for ``meanwhile`` of a command.

    Args:
        number: The signal.
        after: Seconds to wait, or a condition to wait for.
    """

    def meanwhile(pid: int) -> None:
        if callable(after):
            deadline = time.monotonic() + 60
            while not after() and time.monotonic() < deadline:
                time.sleep(0.005)
        else:
            time.sleep(after)
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return

    return meanwhile


def kill_somewhere(chance: random.Random, seconds: float) -> Callable[[int], None]:
    """Return a function that kills a process at a random instant of its first ``seconds``."""
    return send(signal.SIGKILL, chance.uniform(0, seconds))
