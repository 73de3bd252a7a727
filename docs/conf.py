"""Settings of the documentation site.

Build it by ``sphinx-build -W --keep-going -b html docs docs/_build/html``.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

from mtl_runner.version import __version__  # noqa: E402

project = "mtl-runner"
author = "the authors of mtl-runner"
copyright = author  # noqa: A001
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_design",
    "sphinx_copybutton",
    "cards",  # docs/methods, written before the pages are read
    "measured",  # directives for docs/tables
]
exclude_patterns = ["_build", "_ext", "README.md"]
smartquotes_action = "D"  # dashes only: quotes in commands are copied
html_theme = "furo"
html_title = "mtl-runner"
html_static_path = ["_static"]
html_css_files = ["tables.css"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "attrs_inline", "attrs_block"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings describe the arguments
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # or autodoc would describe a dataclass's attributes once more
napoleon_use_admonition_for_examples = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
