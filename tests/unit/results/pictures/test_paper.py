"""Figures for a paper: which panels there are, their width and fonts, and that LaTeX takes them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mtl_runner.results.compare import Comparison, compare
from mtl_runner.results.pictures.charts import Chart, DotChart, Dots, Series
from mtl_runner.results.pictures.paper import draw_panel
from mtl_runner.results.selection import Selection
from tests.unit.results.run_builders import write_trained_run

DOCUMENT = r"""\documentclass{article}
\usepackage{booktabs, siunitx, graphicx}
\begin{document}
%s
\includegraphics[width=3.4in]{figures/forest.pdf}
\includegraphics{figures/curves_y1.pdf}
\end{document}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Write two strategies at two learning rates with two seeds each, and compare them."""
    folder = tmp_path_factory.mktemp("trained")
    for weighting, factor in (("fixed", 1.0), ("uncertainty", 0.9)):
        for rate in (0.001, 0.01):
            for seed in range(2):
                directory = folder / f"{weighting}{rate}{seed}"
                write_trained_run(
                    directory, weighting, seed, epochs=3, loss_factor=factor, optimizer__lr=rate
                )
    return compare(folder)


def test_every_panel_is_a_file_of_its_own(trained: Comparison, tmp_path: Path) -> None:
    """Breaks if a paper must cut a picture into pieces."""
    files = trained.draw_figures(tmp_path / "figures", "svg")
    assert [file.name for file in files] == [
        "forest.svg",
        "metric_y1.svg",
        "metric_y2.svg",
        "curves_y1.svg",
        "curves_y2.svg",
        "weights_y1.svg",
        "weights_y2.svg",
        "front.svg",
        "learning_rates.svg",
    ]
    assert all(file.read_text().startswith("<?xml") for file in files)


def test_the_strategies_are_those_of_the_selection(trained: Comparison, tmp_path: Path) -> None:
    """Breaks if --strategies chooses the table alone, or --split the numbers alone."""
    selection = Selection(split="test", strategies=("uncertainty",))
    files = trained.draw_figures(tmp_path, "pdf", selection=selection)
    assert (tmp_path / "metric_y1.pdf") in files
    text = trained.text("latex", selection=selection)
    assert "uncertainty" in text
    assert "fixed" not in text.split("midrule")[1]


def test_a_pdf_has_the_asked_width_and_truetype_fonts(tmp_path: Path) -> None:
    """Breaks if a publisher refuses Type 3 fonts, or a figure must be scaled."""
    curve = Series([1, 2], [3.0, 4.0], 0, "a strategy")
    for name in ("a", "b"):
        draw_panel(tmp_path / f"{name}.pdf", Chart("", "loss", [curve]), 3.4)
    content = (tmp_path / "a.pdf").read_bytes()
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) [\d.]+ ?\]", content)
    assert box is not None
    assert float(box[1]) == pytest.approx(3.4 * 72, abs=0.1)
    assert b"/Type3" not in content
    assert b"/FontFile2" in content
    assert content == (tmp_path / "b.pdf").read_bytes()


def test_rows_of_a_forest_plot_make_it_higher(tmp_path: Path) -> None:
    """Breaks if twenty strategies are squeezed into the height of two."""
    heights = []
    for count in (2, 20):
        rows = [Dots(f"s{i}", i, [1.0], 1.0, 0.5, 1.5) for i in range(count)]
        draw_panel(tmp_path / "x.png", DotChart("", "loss", rows, reference=0.0), 3.0)
        heights.append(int.from_bytes((tmp_path / "x.png").read_bytes()[20:24], "big"))
    assert heights[1] > 3 * heights[0]


def test_pdflatex_takes_table_and_figures(trained: Comparison, tmp_path: Path) -> None:
    """Breaks if a table or a figure cannot be put into a paper."""
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed (texlive-latex-recommended, texlive-science)")
    trained.draw_figures(tmp_path / "figures", "pdf")
    (tmp_path / "paper.tex").write_text(DOCUMENT % trained.text("latex"))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    result = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, errors="replace"
    )
    errors = re.findall(r"^!.*", result.stdout, re.MULTILINE)
    if any(".sty" in line for line in errors):
        pytest.skip(f"a LaTeX package is not installed: {errors[0]}")
    assert (result.returncode, errors) == (0, [])
