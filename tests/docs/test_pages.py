"""README and the pages of the site are true: every example runs as it is written."""

from __future__ import annotations

import doctest
import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml

from mtl_runner.tasks.task import Task
from tests.docs.blocks import BLOCKS, Block, block_with, blocks_of
from tests.docs.given import names, quick, write_tables
from tests.support.commands import QUICK, Command

TABLE = (
    "data=table",
    "data.path=houses.csv",
    "data.targets={heating: regression, cooling: regression}",
)
RUN = "outputs/my_run"  # the name of a finished run in all examples
LONG = ("+study=", "+probe=", "experiment=", "data=scenes", "data=nyuv2", "data=cityscapes")


def of(*languages: str, marked: bool = False) -> list[Block]:
    """Return the blocks of some languages that can run here, or those marked as needing more."""
    return [b for b in BLOCKS if b.language in languages and bool(b.needs) == marked]


def parameters() -> list[object]:
    """Return the blocks with a command that no earlier block has; most are long tests."""
    seen: set[tuple[str, ...]] = set()
    blocks = []
    for block in of("bash"):
        commands = {tuple(command) for command in block.commands}
        if not commands <= seen:
            is_long = block.page != "README.md" or any(word in block.text for word in LONG)
            marks = [pytest.mark.long] if is_long else []
            blocks.append(pytest.param(block, id=str(block), marks=marks))
        seen |= commands
    return blocks


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the pages tell a reader to write, and the tables that their commands read."""
    monkeypatch.syspath_prepend(str(tmp_path))
    write_files(tmp_path)
    return tmp_path


def write_files(folder: Path) -> None:
    """Write the files of all pages, and the tables."""
    for block in BLOCKS:
        if block.file:
            path = folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
    write_tables(folder)


@pytest.mark.parametrize("block", parameters())
def test_every_command_runs(mtl: Command, folder: Path, block: Block) -> None:
    """Breaks if a page shows a command that a user cannot type."""
    if RUN in block.text:
        assert mtl("mtl-run", *QUICK, f"hydra.run.dir={RUN}").code == 0
    for command in block.commands:
        result = mtl(*quick(command, folder))
        assert result.code == 0, (command, result.err)


@pytest.mark.parametrize("block", of("bash") + of("bash", marked=True), ids=str)
def test_every_shell_block_is_shell(block: Block) -> None:
    """Breaks if a block cannot be pasted into a terminal, also where it needs several machines."""
    text = re.sub(r"<[\w ]+>|\.\.\.", "placeholder", block.text)
    result = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("page", sorted({block.page for block in of("python")}))
def test_the_python_of_a_page_runs(
    mtl: Command, folder: Path, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    """Breaks if the lines of a page, one block after another, are not all there is to it."""
    monkeypatch.chdir(folder)
    blocks = [block for block in of("python") if block.page == page and not block.file]
    if any(RUN in block.text for block in blocks):
        run = mtl("mtl-run", *TABLE, "trainer.epochs=2", f"hydra.run.dir={RUN}")
        assert run.code == 0, run.err
    scope: dict[str, object] = {}
    for block in blocks:
        scope |= names()
        if ">>>" in block.text:
            test = doctest.DocTestParser().get_doctest(block.text, scope, str(block), page, 0)
            assert doctest.DocTestRunner().run(test, clear_globs=False).failed == 0, block
        else:
            exec(compile(block.text, str(block), "exec"), scope)


@pytest.mark.parametrize("block", of("python", marked=True), ids=str)
def test_python_that_needs_more_is_python(block: Block) -> None:
    """Breaks if a block that no test can run has a wrong bracket."""
    compile(block.text, str(block), "exec")


@pytest.mark.parametrize("block", of("yaml") + of("yaml", marked=True), ids=str)
def test_every_yaml_block_is_yaml(block: Block) -> None:
    """Breaks if a config of a page cannot be read."""
    assert yaml.safe_load(block.text) is not None


def test_own_code_examples_take_less_than_ten_lines() -> None:
    """Breaks if bringing your own is harder than the pages say."""
    for block in BLOCKS:
        if block.file and block.language == "python" and block.page == "README.md":
            lines = [
                line
                for line in block.text.splitlines()[1:]
                if line.strip() and not line.startswith(("import", "from"))
            ]
            assert len(lines) < 10, block


def test_the_result_can_be_used(
    mtl: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if the lines on `mtl_runner.load` give no answers for the columns of the table."""
    assert mtl("mtl-run", *TABLE, "trainer.epochs=2", f"hydra.run.dir={RUN}").code == 0
    monkeypatch.chdir(folder)
    scope = {"table": pd.read_csv("houses.csv").drop(columns=["heating", "cooling"])}
    exec(block_with("# the best epoch, with its").text, scope)
    assert list(scope["predictor"].predict(scope["table"]).columns) == ["heating", "cooling"]


def test_a_weighting_works_in_a_foreign_loop() -> None:
    """Breaks if a weighting needs the runner around it."""
    scope = names()
    exec(block_with("objective.backward()").text, scope)
    assert all(s.grad is not None for s in scope["weighting"].parameters())
    assert scope["model"][0].weight.grad is not None
    scope["optimizer"].step()


def test_a_likelihood_and_an_update_work_in_a_foreign_loop() -> None:
    """Breaks if the lines on a likelihood give no gradient, or those on an update no step."""
    scope = {"Task": Task, **names()}
    exec(block_with("likelihood = Homoscedastic").text, scope)
    assert scope["likelihood"].log_variance[0].grad is not None
    scope |= names()
    before = scope["model"][0].weight.detach().clone()
    exec(block_with("update = Jacobian(Parameters").text, scope)
    assert not scope["model"][0].weight.equal(before)


def test_the_lightning_modules_train() -> None:
    """Breaks if a weighting or an update does not fit into a training_step as a page shows it."""
    block = block_with("training_step")
    imports = "".join(
        f"{line}\n"
        for earlier in of("python")
        if earlier.page == block.page
        for line in earlier.text.splitlines()
        if line.startswith(("from mtl_runner.", "from functools"))
    )
    scope = names()
    exec(imports + block.text, scope)
    model, tasks, batch = scope["model"], scope["tasks"], scope["inputs"]
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


def test_a_marked_block_is_known_by_the_comment_before_it(tmp_path: Path) -> None:
    """Breaks if a block that needs several machines is run, or one of a list is not read."""
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- needs: several machines -->\n```bash\ntorchrun --nnodes=2 -m mtl_runner\n```\n"
        "- item\n\n  ```{code-block} python\n  :caption: title\n\n  x = 1\n  ```\n"
        ":::{code-block} python\ny = 2\n:::\n"
    )
    first, second, third = blocks_of(page, tmp_path)
    assert (first.language, first.needs) == ("bash", "several machines")
    assert (second.text, second.needs) == ("x = 1\n", "")
    assert third.text == "y = 2\n"
