"""A script that runs commands of mtl-runner in forks of one process, which has imported torch.

So every command is a real process, but does not take two seconds to start. The script reads JSON
lines ``{argv, cwd, env, out, err}``. It answers with the process id at once, and with the exit code
when the process has ended.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback

import hydra  # noqa: F401
import pandas  # noqa: F401
import torch  # noqa: F401

import mtl_runner.launch
import mtl_runner.runs.runner  # noqa: F401
from mtl_runner import cli

COMMANDS = {
    "mtl-run": cli.main,
    "mtl-compare": cli.compare,
    "mtl-predict": cli.predict,
    "mtl-export": cli.export,
    "mtl-conform": cli.conform,
}


def run_command(request: dict) -> None:
    """Run the command of a request in this process, and end the process."""
    # A Ctrl-C at the terminal of the tests is not meant for the command.
    os.setsid()
    # A shell that starts the tests in the background makes them ignore SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # So does nohup with SIGHUP.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.chdir(request["cwd"])
    os.environ.update(request["env"])
    for stream, path in ((1, request["out"]), (2, request["err"])):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    # The folder of this script; an installed command does not have it.
    del sys.path[0]
    sys.argv = request["argv"]
    code = 0
    try:
        COMMANDS[request["argv"][0]]()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            run_command(request)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
