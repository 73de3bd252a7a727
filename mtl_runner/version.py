"""The version of the package, which a recorded run names; pyproject.toml reads it here."""

__version__ = "0.1.0"
