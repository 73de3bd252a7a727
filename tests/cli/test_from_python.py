"""Runs and comparisons from Python, as in a notebook."""

from __future__ import annotations

import logging
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

import mtl_runner
from mtl_runner import Metric
from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.errors import ConfigError, DivergedError, MtlError, RunDirectoryError
from tests.support.commands import QUICK

SMALL = (*QUICK, "trainer.device=cpu")


@pytest.fixture(autouse=True)
def empty_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs in an empty folder."""
    monkeypatch.chdir(tmp_path)


def test_importing_it_is_quick() -> None:
    """Breaks if `import mtl_runner`, and with it `mtl-run --help`, waits for torch."""
    heavy = "{'torch', 'pandas', 'matplotlib', 'sklearn', 'hydra'}"
    code = f"import sys, mtl_runner; print(sorted({heavy} & set(sys.modules)))"
    command = [sys.executable, "-c", code]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    assert process.stdout == "[]\n"


def test_a_run_gives_its_numbers_and_its_model(tmp_path: Path) -> None:
    """Breaks if what a notebook gets is not what the run directory holds."""
    result = mtl_runner.run("weighting=uncertainty", "data=digits", *SMALL, "record.plots=all")
    assert result.directory.parent.parent == tmp_path / "outputs"
    assert result.summary["status"] == "finished"
    assert isinstance(result.metrics, pd.DataFrame)
    assert set(result.metrics["task"]) == {"digit", "parity", "ink", "image", "total"}
    answers = result.predictor.predict(torch.zeros(2, 64))
    assert set(answers) == {"digit", "parity", "ink", "image"}
    html = result._repr_html_()
    assert html.count("<img ") == len(result.pictures) >= 3
    assert "relative_loss" in repr(result)
    again = mtl_runner.run(
        "weighting=uncertainty",
        "data=digits",
        *SMALL,
        "record.plots=all",
        f"hydra.run.dir={result.directory}",
    )
    assert again.summary == result.summary, "a finished run is read, not trained again"


def test_it_is_the_run_of_the_command(tmp_path: Path) -> None:
    """Breaks if Python and the command line train differently."""
    options = ("weighting=dwa", "data=digits", *SMALL)
    result = mtl_runner.run(*options, "hydra.run.dir=python")
    command = [sys.executable, "-m", "mtl_runner", *options, "hydra.run.dir=command"]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    assert (tmp_path / "command" / "metrics.csv").read_bytes() == (
        result.directory / "metrics.csv"
    ).read_bytes()
    config = (tmp_path / "command" / ".hydra" / "config.yaml").read_text()
    assert (result.directory / ".hydra" / "config.yaml").read_text() == config


def test_users_configs_are_found(tmp_path: Path) -> None:
    """Breaks if ./conf counts on the command line only."""
    (tmp_path / "conf" / "weighting").mkdir(parents=True)
    (tmp_path / "conf" / "weighting" / "own.yaml").write_text(
        "_target_: mtl_runner.weighting.Fixed\nweights: {digit: 2}\n"
    )
    result = mtl_runner.run("weighting=own", "data=digits", *SMALL)
    assert result.summary["tasks"]["digit"]["weight"] == 2.0


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("data=digts",), "data=digts does not exist; did you mean 'digits'?"),
        (
            ("-m", "seed=0,1"),
            "run takes options such as 'data=digits'; found '-m' (sweeps are for mtl-run -m).",
        ),
        (("weighting.lrr=1",), "weighting.lrr is not an option of Uncertainty; did you mean 'lr'?"),
        (
            ("+study=fair",),
            "A study is many runs: write mtl-run -m +study=fair ..., with the sweeper that it brings.",
        ),
        (
            ("trainer.epochs=0",),
            "trainer.epochs must be auto or a whole number of at least 1; found 0.",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(overrides: tuple[str, ...], sentence: str) -> None:
    """Breaks if a mistake in a notebook is a traceback of Hydra's, or goes unnoticed."""
    with pytest.raises(MtlError) as error:
        mtl_runner.run(*overrides)
    assert str(error.value).startswith(sentence)


def named_metric(name: str) -> Metric:
    """Return a metric with a name from the config."""
    return Metric(name, True, sums=lambda o, t, task: o.sum(), finish=lambda sums, task: sums)


@pytest.mark.parametrize("name", ["loss", "epoch", "nll"])
def test_a_metric_is_no_other_column(name: str) -> None:
    """Breaks if a metric takes the place of the loss, by which runs are judged."""
    metric = f"{{_target_: tests.cli.test_from_python.named_metric, name: {name}}}"
    with pytest.raises(ConfigError) as error:
        mtl_runner.run("data=digits", f"++data.metrics={{digit: [accuracy, {metric}]}}", *SMALL)
    assert (
        str(error.value)
        == f"Task 'digit' has a metric called '{name}', which is another column of metrics.csv; rename it."
    )


def test_a_run_leaves_the_process_as_it_was() -> None:
    """Breaks if a run reseeds a notebook's random numbers, or silences a caller's logging."""
    logger = logging.getLogger("mtl_runner")

    def state() -> tuple[object, ...]:
        quiet = logger.propagate, logger.level, logging.getLogger("hydra.utils").disabled
        return (
            torch.get_num_threads(),
            torch.is_anomaly_enabled(),
            *quiet,
            GlobalHydra.instance().hydra,
        )

    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    torch.set_num_threads(2)
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        before, numbers = (
            state(),
            (torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()),
        )
        mtl_runner.run("data=digits", "+debug=true", *SMALL)
        assert state() == before
        assert torch.equal(torch.get_rng_state(), numbers[0])
        assert (np.random.get_state()[1].tolist(), random.getstate()) == numbers[1:]


def test_a_run_recorded_before_an_option_existed_is_the_same_run(tmp_path: Path) -> None:
    """Breaks if a sweep begun with an older version cannot be continued by the same command."""
    options = ("data=digits", *SMALL, "hydra.run.dir=run")
    done = mtl_runner.run(*options)
    path = tmp_path / "run" / ".hydra" / "config.yaml"
    config = yaml.safe_load(path.read_text())
    del config["data"]["metrics"], config["optimizer"]["parts"]
    path.write_text(yaml.safe_dump(config))
    assert mtl_runner.run(*options).summary == done.summary
    with pytest.raises(
        RunDirectoryError, match=r"holds a run with another config \(optimizer\.parts is new here\)"
    ):
        mtl_runner.run(*options, "optimizer.parts.shared.lr=0.1")


def wrong(outputs: dict[str, torch.Tensor], targets: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the share of wrong digits."""
    return (outputs["digit"].argmax(1) != targets["digit"]).double().mean()


def confident(outputs: dict[str, torch.Tensor], targets: object) -> torch.Tensor:
    """Return a loss that rewards confidence; a plain function with an attribute."""
    del targets
    return (outputs["digit"].softmax(1).amax(1) - 1).square().mean()


confident.metrics = {"wrong": wrong}  # type: ignore[attr-defined]


def test_a_loss_term_that_is_a_function_keeps_its_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if the metrics of a loss term are lost between the config and the run."""
    options = (
        "data=digits",
        "++data.losses={sure: {_target_: tests.cli.test_from_python.confident}}",
        "trainer.monitor=sure.wrong",
    )
    with pytest.raises(
        ConfigError,
        match=r"^trainer\.monitor='sure\.wrong': nobody says whether a higher wrong is better;",
    ):
        mtl_runner.run(*options, *SMALL)
    monkeypatch.setattr(wrong, "higher_is_better", False, raising=False)
    result = mtl_runner.run(*options, *SMALL)
    assert (
        result.summary["monitor"]["best"]
        == result.metrics.query("split == 'val' and task == 'sure'")["wrong"].min()
    )


def broken(**options: object) -> None:
    """Raise an error, as a user's model with a mistake does."""
    raise KeyError(sorted(options)[0])


def test_an_error_keeps_its_class_and_its_cause() -> None:
    """Breaks if a notebook cannot tell the kinds of errors apart, or hides a user's traceback."""
    with pytest.raises(ConfigError):
        mtl_runner.run("data=digits", "trainer.monitor=digit.acuracy", *SMALL)
    with pytest.raises(DivergedError):
        mtl_runner.run(
            "data=digits", "optimizer._target_=torch.optim.SGD", "optimizer.lr=1e9", *SMALL
        )
    with pytest.raises(MtlError) as error:
        mtl_runner.run("data=digits", "model={_target_: tests.cli.test_from_python.broken}", *SMALL)
    assert isinstance(error.value.__cause__, KeyError)


def test_a_comparison_is_tables(tmp_path: Path) -> None:
    """Breaks if the tables of mtl-compare cannot be had without files."""
    runs = [
        mtl_runner.run(f"weighting={name}", "data=digits", *SMALL).directory
        for name in ("fixed", "uncertainty")
    ]
    before = sorted(tmp_path.rglob("*"))
    comparison = mtl_runner.compare(runs)
    assert sorted(tmp_path.rglob("*")) == before, "nothing is written"
    assert list(comparison.strategies["strategy"]) == ["fixed", "uncertainty"]
    assert len(comparison.runs) == 2
    assert list(comparison.verdicts["strategy"]) == ["uncertainty"]
    assert {"digit", "ink"} <= set(comparison.differences["task"])
    assert "uncertainty" in repr(comparison)
    assert comparison._repr_html_().count("<table") == 2
    mtl_runner.compare(runs, output=tmp_path / "out", at="best")
    assert (tmp_path / "out" / "report.html").exists()
    with pytest.raises(RunDirectoryError, match="There is no directory"):
        mtl_runner.compare("nowhere")
    with pytest.raises(ConfigError, match=r"^at='last' is unknown; allowed: final, best\.$"):
        mtl_runner.compare(runs, at="last")
