"""The version of the package; pyproject.toml reads it, and every recorded run names it."""

__version__ = "0.1.0"
