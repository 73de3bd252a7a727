"""Formulas for a terminal: what a reader sees instead of LaTeX."""

from __future__ import annotations

import pytest

from mtl_runner.launch.plain_formula import plain_formula


@pytest.mark.parametrize(
    ("latex", "plain"),
    [
        (r"\sum_t w_t L_t", "Σₜ wₜ Lₜ"),
        (r"\sum_t a_t e^{-s_t} L_t + b_t s_t", "Σₜ aₜ e^(-sₜ) Lₜ + bₜ sₜ"),
        (r"s_t = \log\sigma_t^2", "sₜ = log σₜ²"),
        (r"\tfrac12 e^{-s}L + \log(1+e^s)", "1/2 e^(-s)L + log(1+e^s)"),
        (r"\frac{c_t}{\mathrm{sg}[L_t]} \, L_t", "cₜ/sg[Lₜ] Lₜ"),
        (r"\hat m_t / (\sqrt{\hat v_t} + \epsilon)", "m̂ₜ / (√v̂ₜ + ε)"),
        (r"w = \mathrm{softmax}\bigl((1/L) / \tau\bigr)", "w = softmax((1/L) / τ)"),
        (r"\bar L_t^{(e-1)} / \bar L_t^{(e-2)}", "L̄ₜ^(e-1) / L̄ₜ^(e-2)"),
        (r"\max_d \min_t g_t^\top d", "max_d minₜ gₜᵀ d"),
        (r"\lVert\nabla_W L_t\rVert \le c", "‖∇_W Lₜ‖ ≤ c"),
        (r"x \sim N(0, 1), \qquad y", "x ~ N(0, 1), y"),
        (r"\{d : g_s \cdot d \ge 0\}", "{d : gₛ · d ≥ 0}"),
        (r"a &= b \\ c &= d", "a = b\nc = d"),
        (r"\unheard{x}", "unheardx"),
    ],
)
def test_latex_becomes_plain(latex: str, plain: str) -> None:
    """Breaks if a formula in the terminal is not legible, or says something else."""
    assert plain_formula(latex) == plain


def test_an_unfinished_formula_is_still_shown() -> None:
    """Breaks if a typo in a docstring makes `--explain` fail."""
    assert plain_formula(r"\frac{a}") == "a/()"
    assert plain_formula("x_") == "x"
    assert plain_formula("{a}}b") == "a"
    assert plain_formula("") == ""
