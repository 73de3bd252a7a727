"""The options of a command, before a config is composed of them."""

from __future__ import annotations

import pytest

from mtl_runner.errors import ConfigError
from mtl_runner.launch.overrides import check_overrides, sweeping_choice, with_multirun

SCHEDULES = "allowed: all, alternate, plateau, ramp, staged."


@pytest.mark.parametrize(
    "argument",
    [
        "schedule=all",
        "schedule=all,staged",
        "schedule=choice(all,staged)",
        "schedule=glob(*)",
        "schedule='all'",
        "schedule={every: epoch}",
        "~experiment",
        "hydra/launcher=basic",
        "seed=range(1,4)",
        "optimizer.lr=interval(0,1)",
        "data.path='/a b/ü.csv'",
        "trainer.clip=null",
        "~trainer.clip",
        "--config-dir=a b",
        "-m",
        "a b=???",
    ],
)
def test_what_hydra_understands_passes(argument: str) -> None:
    """Breaks if a sweep, a quoted text or a flag is refused."""
    check_overrides([argument, "-m"])


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        (
            "weighting=fixed,dwa",
            "weighting=fixed,dwa names several values; add -m for a run of each.",
        ),
        (
            "++data.tasks=y1,y2",
            "data.tasks=y1,y2 names several values; add -m for a run of each, or write data.tasks=[...] for a list.",
        ),
        (
            "+study=fair",
            "A study is many runs: write mtl-run -m +study=fair ..., with the sweeper that it brings.",
        ),
        (
            "search=optuna",
            "A search is many runs: write mtl-run -m +search=optuna ..., with the sweeper that it brings.",
        ),
    ],
)
def test_many_runs_need_m(argument: str, sentence: str) -> None:
    """Breaks if a user without -m reads of an ambiguous value, or of --multirun."""
    with pytest.raises(ConfigError) as error:
        check_overrides([argument])
    assert str(error.value) == sentence
    check_overrides(["--multirun", argument])
    check_overrides([argument, "hydra.mode=MULTIRUN"])


@pytest.mark.parametrize(
    ("arguments", "added"),
    [
        (["+probe=weighting", "data=digits"], True),
        (["probe=weighting", "--config-dir=conf"], True),
        (["-m", "+probe=weighting"], False),
        (["+probe=weighting", "--cfg", "job"], False),
        (["+probe=weighting", "--help"], False),
        (["+study=fair"], False),
        (["probe.seeds=3"], False),
    ],
)
def test_a_probe_alone_needs_no_m(arguments: list[str], added: bool) -> None:
    """Breaks if the command of a probe asks for -m, or its config cannot be looked at."""
    assert with_multirun(arguments) == (["-m", *arguments] if added else arguments)


def test_a_study_and_a_search_are_two_commands() -> None:
    """Breaks if one of two sweepers is taken without a word."""
    with pytest.raises(ConfigError) as error:
        check_overrides(["-m", "+study=fair", "search=optuna"])
    assert (
        str(error.value)
        == "study=fair and search=optuna cannot be one sweep; leave one of them out."
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-m", "--cfg", "job"], "--cfg prints the config of one run; leave out -m."),
        (
            ["-c=job", "+study=fair", "--multirun"],
            "-c prints the config of one run; leave out --multirun.",
        ),
        (["-m", "--info"], "-m and --info cannot be one command; leave one of them out."),
    ],
)
def test_flags_that_exclude_each_other_are_a_sentence(arguments: list[str], sentence: str) -> None:
    """Breaks if -m --cfg job is answered with a raw error of Hydra's."""
    with pytest.raises(ConfigError) as error:
        check_overrides(arguments)
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("data.targets=[a]", "data.targets={b: regression}"),
        ("data.targets={b: regression}", "++data.targets=[a]"),
        ("data.targets=[a]", "data.targets.b=regression"),
    ],
)
def test_a_key_is_a_list_or_a_mapping(first: str, second: str) -> None:
    """Breaks if two ways of naming the targets are a sentence about one of them, or raw."""
    with pytest.raises(ConfigError) as error:
        check_overrides([first, second])
    assert str(error.value) == (
        f"{first} and {second.lstrip('+')} cannot both be: data.targets is either a list or a mapping; leave one of them out."
    )


def test_a_key_may_be_given_twice_in_one_way() -> None:
    """Breaks if a command that is made longer cannot give an option again."""
    check_overrides(
        ["data.targets=[a]", "data.targets=[b]", "model.hidden=[8]", "model.hidden.0=4"]
    )
    check_overrides(["data.targets={a: regression}", "data.targets.b=regression"])


def test_a_question_for_completion_comes_from_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if `mtl-run -sc query=bash`, typed by hand, is a KeyError."""
    monkeypatch.delenv("COMP_LINE", raising=False)
    how = 'eval "$(mtl-run -sc install=bash)" in bash or zsh, mtl-run -sc install=fish | source in fish.'
    for question in (["-sc"], ["-sc", "query=bash"]):
        with pytest.raises(ConfigError) as error:
            check_overrides(question)
        assert str(error.value).endswith(how)
    monkeypatch.setenv("COMP_LINE", "mtl-run wei")
    check_overrides(["-sc", "query=bash"])
    check_overrides(["-sc", "install=bash"])


@pytest.mark.parametrize("group", ["study", "search", "probe"])
def test_the_config_of_a_sweep_is_none_of_a_run(group: str) -> None:
    """Breaks if another sweeper than its own trains a study as one run."""
    assert sweeping_choice({group: {}, "seed": 0}).startswith(f"A {group} is many runs: ")
    assert not sweeping_choice({"seed": 0})


def test_the_config_of_a_study_can_be_looked_at() -> None:
    """Breaks if --cfg of a study is refused, although it starts no run."""
    check_overrides(["--cfg", "job", "+study=fair"])


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("schedule=0", f"schedule=0 must name an option; {SCHEDULES}"),
        ("hydra/launcher=null", "hydra/launcher=null must name an option."),
        (
            "experiment=null",
            "experiment=null must name an option; allowed: collapse, collapse_groups, reuters_constant_factor, toy_uncertainty.",
        ),
        ("schedule=null", f"schedule=null must name an option; {SCHEDULES}"),
        ("++schedule=[]", f"schedule=[] must name an option; {SCHEDULES}"),
        ("schedule=[1]", f"schedule=[1] must name an option; {SCHEDULES}"),
        ("schedule=all,1", f"schedule=all,1 must name an option; {SCHEDULES}"),
        ("schedule=''", f"schedule='' must name an option; {SCHEDULES}"),
        ("hydra/launcher=1", "hydra/launcher=1 must name an option."),
        ("~schedule", "~schedule cannot be: every run needs the group 'schedule'."),
        ("seed=???", "seed=??? stands for a value that is missing; give one."),
        (
            "data.path=ü",
            "The option 'data.path=ü' cannot be parsed; write key=value, and quote values with spaces, braces, commas or letters "
            "beyond a to z: \"key='a: b'\".",
        ),
    ],
)
def test_what_hydra_words_badly_or_passes_over_is_a_sentence(argument: str, sentence: str) -> None:
    """Breaks if ``data=0`` is a raw error, or ``seed=???`` trains with the default."""
    with pytest.raises(ConfigError) as error:
        check_overrides(["-m", argument])
    assert str(error.value) == sentence
