"""``python -m mtl_runner`` is ``mtl-run``."""

from mtl_runner.cli import main

if __name__ == "__main__":
    main()
