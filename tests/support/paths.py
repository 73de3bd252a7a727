"""Where the project's files lie, so that a test can move without counting folders."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
SCRIPTS = ROOT / "scripts"
