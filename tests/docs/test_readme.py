"""README is true: every example runs as it is written, and every option is in it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
import torch

from mtl_runner.runs.result import RunResult
from mtl_runner.tasks.task import Task
from tests.support.commands import QUICK, Command
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line.split("    #")[0].strip()
    for language, text in BLOCKS
    if language == "bash"
    for line in text.splitlines()
    if line.startswith("mtl-run")
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files that README tells a user to write, the tables its commands read, and a run to go on with."""
    for language, text in BLOCKS:
        match = re.match(r"# (\S+\.(?:py|yaml))\n", text)
        if language in ("python", "yaml") and match:
            path = tmp_path / match.group(1)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    rows = [
        (i % 7, i % 5, "Never-married" if i % 3 else "Divorced", ">50K" if i % 2 else "<=50K", i)
        for i in range(80)
    ]
    pd.DataFrame(
        {
            "heating": [r[0] for r in rows],
            "cooling": [r[1] for r in rows],
            "size": [r[4] for r in rows],
        }
    ).to_csv(tmp_path / "houses.csv", index=False)
    pd.DataFrame(rows, columns=["age", "hours", "marital_status", "income", "fnlwgt"]).to_csv(
        tmp_path / "adult.csv", index=False
    )
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.usefixtures("folder")
def test_every_command_runs(mtl: Command, command: str) -> None:
    """Breaks if README shows a command that a user cannot type."""
    name, *options = shlex.split(command)
    quick = (
        []
        if any(o.startswith(("experiment=", "resume=")) for o in options)
        else ["trainer.epochs=2", "record.plots=none"]
    )
    if any("outputs/my_run" in option for option in options):
        assert mtl("mtl-run", *QUICK, "hydra.run.dir=outputs/my_run").code == 0
    if "+study=fair" in options:
        quick += [
            "study.seeds=2",
            "study.fixed_points=3",
            "study.per_decade=1",
            "study.extensions=0",
            "model.hidden=[8]",
        ]
    if "-m" in options:
        options = [option.replace("range(0,5)", "range(0,1)") for option in options]
    result = mtl(
        name,
        *options,
        *quick,
        *(["trainer.epochs=5"] if "experiment=toy_uncertainty" in options else []),
    )
    assert result.code == 0, result.err


def test_the_result_can_be_used(
    mtl: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if the lines on `mtl_runner.load` are not all there is to it."""
    run = (
        "data=table",
        "data.path=houses.csv",
        "data.targets={heating: regression, cooling: regression}",
    )
    assert (
        mtl(
            "mtl-run", *run, "trainer.epochs=2", "record.plots=none", "hydra.run.dir=outputs/my_run"
        ).code
        == 0
    )
    code = next(
        text for language, text in BLOCKS if language == "python" and "mtl_runner.load" in text
    )
    monkeypatch.chdir(folder)
    scope = {"table": pd.read_csv("houses.csv").drop(columns=["heating", "cooling"])}
    exec(code, scope)
    assert list(scope["predictor"].predict(scope["table"]).columns) == ["heating", "cooling"]


def test_runs_and_comparisons_can_be_had_from_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if README's lines on `mtl_runner.run` and `mtl_runner.compare` are not all there is to it."""
    code = next(
        text for language, text in BLOCKS if language == "python" and "mtl_runner.run" in text
    )
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    exec(code, scope)
    assert isinstance(scope["result"], RunResult)


def test_a_weighting_works_in_a_foreign_loop() -> None:
    """Breaks if a weighting needs the runner around it."""
    code = next(
        text for language, text in BLOCKS if language == "python" and "objective.backward()" in text
    )
    model = torch.nn.Linear(2, 4)
    outputs = model(torch.randn(8, 2))
    losses = {
        "depth_loss": outputs[:, 0].square().mean(),
        "label_loss": outputs[:, 1:].logsumexp(1).mean(),
    }
    scope = {"model": model, **losses}
    exec(code, scope)
    assert model.weight.grad is not None
    assert all(s.grad is not None for s in scope["weighting"].parameters())
    scope["optimizer"].step()


def test_a_likelihood_and_an_update_work_in_a_foreign_loop() -> None:
    """Breaks if README's lines on them are not all there is to it."""
    first, second = (
        next(text for language, text in BLOCKS if language == "python" and word in text)
        for word in ("likelihood = Homoscedastic", "update = Jacobian(Parameters")
    )
    trunk, heads = (
        torch.nn.Linear(2, 4),
        torch.nn.ModuleList([torch.nn.Linear(4, 1), torch.nn.Linear(4, 3)]),
    )
    model = torch.nn.ModuleList([trunk, heads])
    features = trunk(torch.randn(8, 2))
    scope = {
        "torch": torch,
        "Task": Task,
        "model": model,
        "depth": heads[0](features),
        "logits": heads[1](features),
        "depth_target": torch.randn(8, 1),
        "label_target": torch.randint(3, (8,)),
    }
    exec(first, scope)
    assert scope["likelihood"].log_variance[0].grad is not None
    before = trunk.weight.detach().clone()
    features = trunk(torch.randn(8, 2))
    losses = [heads[0](features).square().mean(), heads[1](features).logsumexp(1).mean()]
    exec(second, scope | {"losses": losses, "tasks": scope["likelihood"].tasks})
    assert not trunk.weight.equal(before)


def test_the_lightning_modules_train() -> None:
    """Breaks if a weighting or an update does not fit into a training_step as README shows it."""
    imports = "".join(
        f"{line}\n"
        for line in README.splitlines()
        if line.startswith(("from mtl_runner.", "from functools"))
    )
    code = next(
        text for language, text in BLOCKS if language == "python" and "training_step" in text
    )
    tasks = [Task("a"), Task("b")]
    trunk, heads = (
        torch.nn.Linear(2, 4),
        torch.nn.ModuleList([torch.nn.Linear(4, 1), torch.nn.Linear(4, 1)]),
    )
    model = torch.nn.ModuleList([trunk, heads])
    scope = {
        "torch": torch,
        "Module": torch.nn.Module,
        "task_losses": lambda model, batch: [
            head(model[0](batch)).square().mean() for head in model[1]
        ],
    }
    exec(imports + code, scope)
    batch = torch.randn(8, 2)
    weighed = scope["Weighed"](model, tasks)
    optimizer = weighed.configure_optimizers()
    first = weighed.training_step(batch, 0)
    first.backward()
    optimizer.step()
    assert weighed.training_step(batch, 1) < first
    aggregated = scope["Aggregated"](model, tasks)
    before = sum(scope["task_losses"](model, batch))
    for step in range(5):
        aggregated.training_step(batch, step)
    assert sum(scope["task_losses"](model, batch)) < before


@pytest.mark.parametrize(
    "group", ["data", "model", "likelihood", "weighting", "schedule", "update", "experiment"]
)
def test_every_option_is_in_the_readme(group: str) -> None:
    """Breaks if a method is added without its row."""
    for path in (ROOT / "conf" / group).glob("*.yaml"):
        assert re.search(rf"\b{path.stem}\b", README), f"README never mentions {group}={path.stem}"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "conf").rglob("*.yaml")), ids=lambda path: path.stem
)
def test_every_config_begins_with_the_command_that_uses_it(path: Path) -> None:
    """Breaks if a config does not say how to run it."""
    group = path.parent.name
    if group in (
        "data",
        "model",
        "likelihood",
        "weighting",
        "schedule",
        "update",
        "optimizer",
        "experiment",
    ):
        head = path.read_text().splitlines()[:2]
        command = f"{group}={path.stem}"
        assert any(
            line.startswith((f"# mtl-run {command}", f"# mtl-run -m {command}")) for line in head
        )


def test_own_code_examples_take_less_than_ten_lines() -> None:
    """Breaks if bringing your own is harder than README says."""
    for language, text in BLOCKS:
        if language == "python" and re.match(r"# \S+\.py\n", text):
            lines = [
                line
                for line in text.splitlines()[1:]
                if line.strip() and not line.startswith(("import", "from"))
            ]
            assert len(lines) < 10, text
