"""Run ``mtl-run`` by ``python -m mtl_runner``."""

import os
import sys

# Python looks in the working directory first; the command does it last, once it has begun.
if not sys.flags.safe_path and sys.path[0] in ("", os.getcwd()):  # noqa: PTH109
    del sys.path[0]

from mtl_runner.cli import main

if __name__ == "__main__":
    main()
