"""The answers to --list and --explain."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtl_runner.errors import ConfigError
from mtl_runner.launch.catalog import AXES, Catalog
from mtl_runner.launch.explain import answer, card, is_question, short_source
from mtl_runner.version import __version__
from tests.support.paths import CONF, ROOT

CATALOG = Catalog([CONF])


def test_a_question_is_told_from_a_run() -> None:
    """Breaks if an ordinary option is taken for a question."""
    assert is_question(["data=digits", "--list"])
    assert is_question(["--explain=weighting=famo"])
    assert not is_question(["weighting=famo", "-m", "--config-dir", "list"])


def test_a_list_has_one_aligned_line_per_option() -> None:
    """Breaks if a line lacks what an option does, its cost or its source, or is not aligned."""
    lines = answer(["--list", "weighting"]).splitlines()
    assert len(lines) == len(list((CONF / "weighting").glob("*.yaml")))
    famo = next(line for line in lines if line.startswith("famo "))
    for part in (
        "equal relative progress of all tasks, from losses alone",
        "one more forward pass per step",
        "Liu et al., FAMO, NeurIPS 2023",
    ):
        assert part in famo
        assert famo[famo.index(part) - 2 : famo.index(part)] == "  "
    start = famo.index("one more forward")
    assert all(line[start - 2 : start] == "  " and line[start] != " " for line in lines)
    assert "http" not in "".join(lines)


def test_the_groups_are_listed_with_their_defaults() -> None:
    """Breaks if --list alone does not say what there is to choose."""
    lines = answer(["--list"]).splitlines()
    assert lines[0].split() == ["group", "default", "what", "it", "decides"]
    assert any(line.split()[:2] == ["weighting", "uncertainty"] for line in lines)
    assert all(any(line.startswith(axis) for line in lines) for axis in AXES)


@pytest.mark.parametrize("axis", AXES)
def test_every_card_fits_the_terminal(axis: str) -> None:
    """Breaks if a card has lines that a terminal wraps; what is to be copied stays whole."""
    for option in CATALOG.options(axis):
        text = card(CATALOG, option, width=80)
        assert text.startswith(f"{axis}={option.name}: ")
        for line in text.splitlines():
            kept = line.startswith("  example") or ">>>" in line or "://" in line
            assert len(line) <= 80 or kept or line.startswith("      "), line


def test_a_card_holds_header_docstring_settings_and_measured_cost() -> None:
    """Breaks if one of the sources of a card is lost."""
    text = answer(["--explain", "weighting=famo"])
    lines = (ROOT / "docs" / "tables" / "methods.csv").read_text().splitlines()
    (row,) = [line.split(",") for line in lines if line.startswith("famo,")]
    for part in (
        "weighting=famo: equal relative progress",
        f"measured  {row[1]} ms per step on digits, {row[2]} times",
        "https://arxiv.org/abs/2306.03792",
        "  class     mtl_runner.weighting.FAMO",
        "Args:",
        "weighting.gamma  0.01   decay of the logits",
    ):
        assert part in text, part
    assert "sets      update=jacobian" in answer(["--explain=weighting=mgda"])
    both = answer(["--explain", "weighting=famo", "schedule=staged"])
    assert "\nschedule=staged: " in both


def test_a_card_of_the_users_own_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a user's docstring is not shown, or the class is imported for it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_roots.py").write_text(
        'raise RuntimeError\nclass Roots:\n    r"""Add :math:`\\sqrt{L_t}`.\n\n'
        '    Args:\n        p: power.\n    """\n'
    )
    (tmp_path / "conf" / "weighting").mkdir(parents=True)
    (tmp_path / "conf" / "weighting" / "roots.yaml").write_text(
        "_target_: own_roots.Roots\np: 0.5   # power\n"
    )
    text = answer(["--explain", "weighting=roots"])
    assert "weighting=roots: Add" in text
    assert "Add √Lₜ." in text
    assert "weighting.p  0.5  power" in text
    assert str(tmp_path) in text
    assert "Add" in next(
        line for line in answer(["--list", "weighting"]).splitlines() if line.startswith("roots")
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--list", "wieghting"], "There is no group 'wieghting'; did you mean 'weighting'?"),
        (["--list", "weighting", "data"], "--list takes one group, e.g."),
        (["--list", "weighting=famo"], "--list takes one group, e.g."),
        (["--explain"], "--explain takes an option, e.g. mtl-run --explain weighting=famo."),
        (["--explain", "weighting=fammo"], "weighting=fammo does not exist; did you mean 'famo'?"),
        (["--explain", "wieghting=famo"], "There is no group 'wieghting';"),
        (["--explain", "weighting"], "--explain takes one option, e.g. weighting=adatask;"),
        (
            ["--explain", "famo"],
            "--explain takes group=option, e.g. weighting=famo; found 'famo'; did you mean weighting=famo?",
        ),
        (
            ["--explain", "nothing"],
            "--explain takes group=option, e.g. weighting=famo; found 'nothing'.",
        ),
        (["--list", "--explain"], "Ask one question at a time: --list or --explain."),
        (["--list", "-m"], "-m cannot stand beside --list or --explain."),
    ],
)
def test_a_wrong_question_is_one_sentence(arguments: list[str], sentence: str) -> None:
    """Breaks if a mistake ends in a traceback or an empty answer."""
    with pytest.raises(ConfigError) as error:
        answer(arguments)
    assert str(error.value).startswith(sentence)
    assert "\n" not in str(error.value)


def test_a_source_is_listed_without_addresses() -> None:
    """Breaks if the last column of a list becomes too wide."""
    assert (
        short_source("A, 2020, https://a.b/c; beta: B, 2022, https://d.e")
        == "A, 2020; beta: B, 2022"
    )
    assert short_source("the baseline") == "the baseline"


def test_the_version_is_ours() -> None:
    """Breaks if somebody who asks for help reports the version of Hydra."""
    assert is_question(["--version"])
    text = answer(["--version"])
    assert text.startswith(f"mtl-runner {__version__} (torch ")
    assert "hydra-core" in text
