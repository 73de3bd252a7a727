"""A table in LaTeX: what is bold, underlined and marked, and whether pdflatex takes it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mtl_runner.results.compare import Comparison, compare
from mtl_runner.results.latex import escape
from mtl_runner.results.selection import Selection
from tests.unit.results.run_builders import METRICS, write_run

DOCUMENT = r"""\documentclass{article}
\usepackage{booktabs}
\usepackage{graphicx}
\usepackage{siunitx}
%s
\begin{document}
%s
\end{document}
"""


def rows(comparison: Comparison, error: str = "half", *strategies: str) -> dict[str, list[str]]:
    """Return the cells of a table by the strategy of their row."""
    text = comparison.text("latex", selection=Selection(strategies=strategies), error=error)
    lines = [line.strip().removesuffix(r" \\") for line in text.splitlines() if " & " in line]
    return {line.split(" & ")[0]: line.split(" & ")[1:] for line in lines}


def test_the_best_is_bold_and_the_second_underlined(sweep: Path) -> None:
    """Breaks if a paper names another winner than its numbers."""
    table = rows(compare(sweep))
    assert table["famo"][1] == r"\bfseries 0.9100 +- 0.0026"
    assert table["fixed, a=2"][1] == "0.9900 +- 0.0026"
    assert (
        table["single\\_task"][1] == r"{\underline{\num[separate-uncertainty]{0.9800 +- 0.0026}}}"
    )


def test_a_difference_to_equal_weights_is_marked(sweep: Path) -> None:
    """Breaks if a reader takes chance for a difference, or nothing says what the mark means."""
    comparison = compare(sweep)
    text = comparison.text("latex", selection=Selection(strategies=("famo", "fixed, a=default")))
    assert r"\bfseries 0.9100 +- 0.0026 {$^{*}$}" in text
    assert "$^{*}$: differs from equal weights ($p < .05$, paired sign-flip test" in text
    assert "table-space-text-post={$^{*}$}" in text
    assert "$^{*}$" not in comparison.text("latex")  # Holm's correction over three


def test_few_seeds_are_told_in_a_remark(tmp_path: Path) -> None:
    """Breaks if a table without marks says that nothing differs."""
    for seed in range(5):
        for weighting, rmse in (("fixed", 2.0), ("dwa", 1.0 + seed / 100)):
            tasks = {"a": {"rmse": rmse}}
            write_run(tmp_path, f"{weighting}{seed}", tasks, weighting=weighting, seed=seed)
    text = compare(tmp_path).text("latex")
    assert "% No difference is marked: 5 seeds cannot reach p < .05." in text


@pytest.mark.parametrize(
    ("error", "cell"),
    [
        ("sd", r"\bfseries 0.9100 +- 0.0025"),
        ("none", r"\bfseries 0.9100"),
        (
            "ends",
            r"\textbf{\num[detect-weight]{0.9100} [\num[detect-weight]{0.9074}, \num[detect-weight]{0.9126}]}",
        ),
    ],
)
def test_what_stands_beside_a_mean(sweep: Path, error: str, cell: str) -> None:
    """Breaks if a caption says another error than the cells show."""
    assert rows(compare(sweep), error)["famo"][1] == cell


def test_numbers_of_runs_stand_in_a_column_where_they_differ(sweep: Path) -> None:
    """Breaks if failed runs of one strategy are hidden behind the runs of the others."""
    assert rows(compare(sweep))["dwa"][0] == "5 (1 failed)"
    assert len(rows(compare(sweep))["dwa"]) == len(rows(compare(sweep), "half", "famo")["famo"]) + 1


def test_names_are_text() -> None:
    """Breaks if a task such as y_1 or 50% stops LaTeX, or hides the rest of its line."""
    assert escape(r"a_b%c&d#e$f{g}~h^i\j") == (
        r"a\_b\%c\&d\#e\$f\{g\}\textasciitilde{}h\textasciicircum{}i\textbackslash{}j"
    )
    assert escape("<a>") == "$<$a$>$"


def test_a_missing_number_is_a_dash(sweep: Path) -> None:
    """Breaks if a strategy without a result makes a table that siunitx refuses."""
    write_run(sweep, "u0", METRICS, weighting="uncertainty", status="failed")
    assert rows(compare(sweep))["uncertainty"][1] == "{--}"


def test_a_wide_table_fits_its_column(sweep: Path) -> None:
    """Breaks if the table of several tasks leaves the page, or touches its caption."""
    head, *lines = compare(sweep).text("latex").splitlines()
    assert head == r"% Needs \usepackage{booktabs}, \usepackage{graphicx} and \usepackage{siunitx}."
    tabular = next(i for i, line in enumerate(lines) if r"\begin{tabular}" in line)
    assert lines[tabular - 1].startswith(r"  \resizebox{\ifdim\width>\linewidth")
    assert lines[-2:] == [r"  \end{tabular}}", r"\end{table}"]
    assert r"  \setlength{\belowcaptionskip}{4pt}" in lines


@pytest.mark.parametrize("error", ["half", "ends", "none"])
def test_pdflatex_takes_the_table(sweep: Path, tmp_path: Path, error: str) -> None:
    """Breaks if a table cannot be pasted into a paper."""
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed (texlive-latex-recommended, texlive-science)")
    write_run(sweep, "u0", METRICS, weighting="u_$%", status="failed")
    selections = (Selection(), Selection(strategies=("famo", "fixed, a=default"), split="test"))
    tables = "\n".join(compare(sweep).text("latex", selection=s, error=error) for s in selections)
    (tmp_path / "paper.tex").write_text(DOCUMENT % ("", tables))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    result = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, errors="replace"
    )
    errors = re.findall(r"^!.*", result.stdout, re.MULTILINE)
    if any(".sty" in line for line in errors):
        pytest.skip(f"a LaTeX package is not installed: {errors[0]}")
    assert (result.returncode, errors) == (0, [])
    assert r"Overfull \hbox" not in result.stdout
    assert (tmp_path / "paper.pdf").read_bytes().startswith(b"%PDF")
