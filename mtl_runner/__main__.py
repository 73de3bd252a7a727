"""Run ``mtl-run`` by ``python -m mtl_runner``."""

from mtl_runner.cli import main

if __name__ == "__main__":
    main()
