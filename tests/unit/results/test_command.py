"""``mtl-compare``: its options, what it prints and what it writes."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pandas as pd
import pytest

from mtl_runner.errors import ConfigError
from mtl_runner.results.command import main
from mtl_runner.results.text import markdown_text
from tests.unit.results.run_builders import METRICS, write_run


def test_the_verdicts_stand_under_the_table(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if the terminal shows numbers without verdicts, or a file is missing."""
    main(["sweep"])
    text = capsys.readouterr().out
    assert (
        "Verdict (validation, final epoch, margin 2 %, by mean relative loss): Weighting matters on d: famo beats equal"
        in text
    )
    assert "\n  famo helps: 9 % better than equal weights (95 % interval" in text
    assert "\n  dwa hurts: " in text
    assert "1 of 6 runs failed" in text
    assert text.rstrip().splitlines()[-1].startswith("sweep/: ")
    assert text.rstrip().endswith(", differences.csv, verdicts.csv")
    verdicts = pd.read_csv(sweep / "verdicts.csv").set_index("strategy")
    assert verdicts.loc["famo", "verdict"] == "helps"
    assert verdicts.loc["famo", "delta_m"] == pytest.approx(-7.1, abs=0.1)
    assert verdicts.loc["famo", "p_helps"] < 1e-3
    differences = pd.read_csv(sweep / "differences.csv").set_index(["strategy", "task", "metric"])
    assert differences.loc[("famo", "a", "rmse"), "mean"] == pytest.approx(-0.09)
    assert set(differences["against"]) == {"fixed, a=default"}
    for name in text.rstrip().splitlines()[-1].removeprefix("sweep/: ").split(", "):
        assert (sweep / name).stat().st_size > 0


def test_csv_is_the_whole_strategies_table_and_nothing_else(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if a script that reads the standard output finds anything but CSV."""
    main(["sweep", "--format", "csv"])
    printed = pd.read_csv(io.StringIO(capsys.readouterr().out))
    pd.testing.assert_frame_equal(printed, pd.read_csv(sweep / "comparison.csv"))
    rows = printed.set_index("strategy")
    assert rows.loc["famo", "verdict"] == "helps"
    assert rows.loc["famo", "versus_equal.high"] < -0.02


@pytest.mark.parametrize(("margin", "kind"), [("0.05", "helps"), ("0.1", "no difference")])
def test_the_margin_decides_what_is_a_difference(sweep: Path, margin: str, kind: str) -> None:
    """Breaks if --margin is ignored."""
    main(["sweep", "--margin", margin])
    verdicts = pd.read_csv(sweep / "verdicts.csv").set_index("strategy")
    assert verdicts.loc["famo", "verdict"] == kind
    assert (verdicts["margin"] == float(margin)).all()


@pytest.mark.parametrize("margin", ["2", "0", "-1", "much", "nan"])
def test_a_margin_that_is_none_is_refused(
    sweep: Path, margin: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if 2 is silently taken for 200 %."""
    with pytest.raises(SystemExit):
        main(["sweep", f"--margin={margin}"])
    assert (
        f"{margin!r} is no margin; write a fraction between 0 and 1, as 0.02 for 2 %"
        in capsys.readouterr().err
    )
    assert not (sweep / "verdicts.csv").exists()


def test_the_report_is_opened_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if --open shows another page than the one beside comparison.csv, or comes unasked."""
    write_run(tmp_path / "sweep", "0", METRICS)
    addresses: list[str] = []
    monkeypatch.setattr("webbrowser.open", addresses.append)
    main([str(tmp_path / "sweep"), "--output", str(tmp_path / "output")])
    assert addresses == []
    main([str(tmp_path / "sweep"), "--output", str(tmp_path / "output"), "--open"])
    assert addresses == [(tmp_path / "output" / "report.html").as_uri()]
    assert "report.html" in capsys.readouterr().out
    assert (tmp_path / "output" / "comparison.csv").exists()


def test_several_directories_are_compared_in_a_folder_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if the files of a comparison of two sweeps land in one of them."""
    monkeypatch.chdir(tmp_path)
    for name in ("x", "y"):
        write_run(tmp_path / name, "0", METRICS)
    main(["x", "y"])
    assert (tmp_path / "comparison" / "runs.csv").exists()
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["0"]


def test_at_chooses_the_epoch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Breaks if --at is ignored, or a third epoch is accepted."""
    write_run(tmp_path, "0", METRICS)
    main([str(tmp_path), "--at", "best"])
    assert "d (validation, best epoch, " in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--at", "first"])


def test_latex_begins_with_the_command_that_made_it(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if nobody can make the table of a paper again, or the output is more than LaTeX."""
    main(["sweep", "--format", "latex", "--split", "test", "--strategies", "famo,fixed, a=2"])
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == (
        "% mtl-compare sweep --format latex --split test --strategies 'famo,fixed, a=2'"
    )
    assert lines[-1] == r"\end{table}"
    shown = [line.split(" & ")[0].strip() for line in lines if "+-" in line]
    assert shown == ["famo", "fixed, a=2"]


def test_csv_holds_the_named_strategies_split_and_metrics(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if a script must cut the table itself, or ranks are among strategies left out."""
    options = ["--split", "test", "--metrics", "a.mae", "--strategies", "dwa,single_task"]
    main(["sweep", "--format", "csv", *options])
    table = pd.read_csv(io.StringIO(capsys.readouterr().out)).set_index("strategy")
    assert list(table.index) == ["dwa", "single_task"]
    columns = [name for name in table if name.startswith(("val.", "test.a", "test.b"))]
    assert columns == [f"test.a.mae.{end}" for end in ("mean", "low", "high")]
    assert table["test.mean_rank"].tolist() == [2.0, 1.0]


@pytest.mark.parametrize(
    ("error", "title", "cell", "ends"),
    [
        ("half", "mean ± 95 % interval over runs", "0.91 ± 0.0026", ["mean", "low", "high"]),
        (
            "ends",
            "mean and ends of its 95 % interval over runs",
            "0.91 [0.9074, 0.9126]",
            ["mean", "low", "high"],
        ),
        ("sd", "mean ± standard deviation over runs", "0.91 ± 0.0025", ["mean", "sd"]),
        ("none", "mean over runs", "0.91", ["mean"]),
    ],
)
def test_every_format_has_the_error_that_is_asked_for(
    sweep: Path,
    capsys: pytest.CaptureFixture[str],
    error: str,
    title: str,
    cell: str,
    ends: list[str],
) -> None:
    """Breaks if --error is ignored without a word, or a title says another one."""
    printed = {}
    for style in ("text", "md", "csv"):
        main(["sweep", "--format", style, "--error", error])
        printed[style] = capsys.readouterr().out
    assert f"d (validation, final epoch, {title})" in printed["text"]
    assert re.search(rf"^famo +6 +{re.escape(cell)} ", printed["text"], re.MULTILINE)
    assert f"| famo | 6 | {markdown_text(cell)} |" in printed["md"]
    table = pd.read_csv(io.StringIO(printed["csv"])).set_index("strategy")
    columns = [name.rpartition(".")[2] for name in table if name.startswith("val.a.rmse.")]
    assert columns == ends
    if error == "sd":
        assert table.loc["famo", "val.a.rmse.sd"] == pytest.approx(0.0025, abs=1e-4)


def test_all_shows_what_the_default_leaves_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if --all is ignored."""
    for i, rate in enumerate((0.1, 0.2)):
        for weighting in ("fixed", "dwa"):
            overrides = {"optimizer.lr": rate}
            write_run(
                tmp_path, f"{i}{weighting}", METRICS, weighting=weighting, overrides=overrides
            )
    for options, count in (([], 1), (["--all"], 2)):
        main([str(tmp_path), *options])
        out = capsys.readouterr().out
        assert sum(line.startswith("dwa, lr=") for line in out.splitlines()) == count


@pytest.mark.parametrize("text", ["sweep", "0", "-3", "nan", "inf"])
def test_what_is_no_number_of_seconds_is_refused(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if a folder after --watch is taken for seconds without a word."""
    with pytest.raises(SystemExit):
        main(["sweep", f"--watch={text}"])
    assert (
        f"{text!r} is no number of seconds; write it as --watch=30, or --watch after the directories"
        in capsys.readouterr().err
    )


def test_figures_are_written_beside_the_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if --figures or --width is ignored, or their files are not named."""
    write_run(tmp_path, "0", METRICS)
    write_run(tmp_path, "1", METRICS, weighting="dwa")
    main([str(tmp_path), "--figures", "pdf", "--width", "86mm", "--format", "csv"])
    printed = capsys.readouterr()
    assert f"{tmp_path / 'figures'}/: forest.pdf, metric_a.pdf, metric_b.pdf" in printed.err
    assert "forest" not in printed.out
    content = (tmp_path / "figures" / "metric_a.pdf").read_bytes()
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+)", content)
    assert box is not None
    assert float(box[1]) == pytest.approx(86 / 25.4 * 72, abs=0.1)


def test_a_width_without_figures_is_refused(sweep: Path) -> None:
    """Breaks if --width is ignored without a word."""
    with pytest.raises(ConfigError) as error:
        main(["sweep", "--width", "3in"])
    assert str(error.value) == "--width is the width of figures; add --figures pdf, svg or png."
    assert not (sweep / "comparison.csv").exists()


@pytest.mark.parametrize("width", ["3.4inch", "wide", "0", "400", "3.4 ft"])
def test_a_width_that_is_none_is_refused(width: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Breaks if a figure of 400 inches fills the memory."""
    with pytest.raises(SystemExit):
        main(["sweep", "--width", width])
    assert (
        f"{width!r} is no width; write a length between 1 and 30 inches, as 3.4in, 8.6cm, 86mm or 245pt"
        in capsys.readouterr().err
    )
