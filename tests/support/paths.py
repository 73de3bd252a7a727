"""Paths of the project's folders, so that a test can be moved to another folder."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
SCRIPTS = ROOT / "scripts"
