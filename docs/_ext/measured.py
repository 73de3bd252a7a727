"""Directives that put committed measurements into a page: a corrected table corrects the page.

Directives are written as fenced blocks, the role within a sentence:

- ``{measured} methods``: the table ``docs/tables/methods.csv`` and the command that makes it; with
  ``:columns: weighting, ms/step`` only those columns.
- ``{verdicts}``: what the fair studies say, as a summary, by problem, with their commands.
- ``{evidence} uncertainty``: what they say of one strategy.
- ``{leaderboard}``: the summary of the leaderboard; ``{leaderboard} cells``: all of its cells;
  the role ``{leaderboard-edges}`cells` ``: how often the best learning rate lies on the edge.
- ``{options} data``: the options of a config group, from their files.
- ``{cell}`multi_fashion; strategy=uncertainty; to equal weights` ``: one number of a table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from as_markdown import code, escaped, table
from docutils import nodes
from docutils.parsers.rst import directives
from leaderboard import board, edges
from leaderboard import summary as summary_of_board
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective, SphinxRole
from verdicts import evidence, studies_list, summary

from mtl_runner.config.conf_directory import conf_directory
from mtl_runner.launch.catalog import Catalog, MeasuredTable, read_table

TABLES = Path(__file__).parents[1] / "tables"


def load(name: str) -> MeasuredTable:
    """Return the table of a name.

    Raises:
        ExtensionError: If there is none.
    """
    path = TABLES / f"{name}.csv"
    if not path.exists():
        names = ", ".join(sorted(path.stem for path in TABLES.glob("*.csv")))
        raise ExtensionError(f"docs/tables has no {name}.csv; there are: {names}.")
    return read_table(path)


class FromMarkdown(SphinxDirective):
    """A directive whose content is Markdown that it makes itself."""

    has_content = False

    def markdown(self) -> str:
        """Return the content of the directive."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Return the nodes of the content."""
        result = self.parse_text_to_nodes(self.markdown())
        for node in result:
            for table_node in node.findall(nodes.table):
                table_node["classes"].append("measured")
        return result


class Measured(FromMarkdown):
    """``{measured} name``: a table of measurements, and the command that makes it."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {"columns": directives.unchanged}

    def markdown(self) -> str:
        """Return the table and its command."""
        name = self.arguments[0]
        self.env.note_dependency(str(TABLES / f"{name}.csv"))
        measured = load(name)
        columns = measured.columns
        if "columns" in self.options:
            columns = tuple(part.strip() for part in self.options["columns"].split(","))
            if missing := [column for column in columns if column not in measured.columns]:
                raise self.error(f"{name}.csv has no column {missing[0]!r}.")
        # A command is copied: as text its dashes would become others.
        rows = [
            [(code if column == "command" else escaped)(row[column]) for column in columns]
            for row in measured.rows
        ]
        heads = [escaped(column) for column in columns]
        return f"{table(heads, rows)}\n{{.made-by}}\nMade by: {code(measured.command)}\n"


class Options(FromMarkdown):
    """``{options} group``: the options of a config group."""

    required_arguments = 1

    def markdown(self) -> str:
        """Return a table of the options."""
        group = self.arguments[0]
        options = Catalog([conf_directory()]).options(group)
        fields = [
            field
            for field in ("tasks", "takes", "cost", "source", "when", "needs")
            if any(field in option.fields for option in options)
        ]
        rows = [
            [
                code(option.name),
                escaped(option.does),
                *(escaped(option.fields.get(field, "")) for field in fields),
            ]
            for option in options
        ]
        return table([code(f"{group}="), "what it is", *fields], rows)


class Verdicts(FromMarkdown):
    """``{verdicts}``: what the fair studies say."""

    def markdown(self) -> str:
        """Return the summary and the studies."""
        for name in ("verdicts", "studies"):
            self.env.note_dependency(str(TABLES / f"{name}.csv"))
        rows, studies = load("verdicts").rows, load("studies").rows
        return f"{summary(rows)}\n\n{studies_list(rows, studies)}"


class Evidence(FromMarkdown):
    """``{evidence} strategy``: what the fair studies say of one strategy."""

    required_arguments = 1
    final_argument_whitespace = True

    def markdown(self) -> str:
        """Return a list of sentences, one per problem."""
        self.env.note_dependency(str(TABLES / "verdicts.csv"))
        sentences = evidence(load("verdicts").rows, self.arguments[0])
        if not sentences:
            raise self.error(f"verdicts.csv says nothing of {self.arguments[0]!r}.")
        return "\n".join(f"- {sentence}" for sentence in sentences) + "\n"


class Leaderboard(FromMarkdown):
    """``{leaderboard}``: how many cells there are; ``{leaderboard} cells``: what each says."""

    optional_arguments = 1

    def markdown(self) -> str:
        """Return a paragraph, or the table of all cells."""
        for name in ("leaderboard", "leaderboard_methods"):
            self.env.note_dependency(str(TABLES / f"{name}.csv"))
        rows = load("leaderboard").rows
        if not self.arguments:
            return summary_of_board(rows)
        return board(rows, [row["method"] for row in load("leaderboard_methods").rows])


class Cell(SphinxRole):
    """``{cell}`table; column=value; column``` : one number of a table."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Return the number as text."""
        name, *conditions, column = (part.strip() for part in self.text.split(";"))
        self.env.note_dependency(str(TABLES / f"{name}.csv"))
        wanted = dict(condition.split("=", 1) for condition in conditions)
        rows = [
            row for row in load(name).rows if all(row.get(key) == wanted[key] for key in wanted)
        ]
        if len(rows) != 1 or column not in rows[0]:
            reason = f"{len(rows)} rows" if len(rows) != 1 else f"no column {column!r}"
            message = self.inliner.reporter.error(
                f"cell {self.text!r}: {name}.csv has {reason}.", line=self.lineno
            )
            return [], [message]
        return [nodes.Text(rows[0][column])], []


class LeaderboardEdges(SphinxRole):
    """``{leaderboard-edges}`cells` ``: how often the best learning rate lies on the edge."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Return the shares as text."""
        for name in ("leaderboard", "leaderboard_problems"):
            self.env.note_dependency(str(TABLES / f"{name}.csv"))
        return [nodes.Text(edges(load("leaderboard").rows, load("leaderboard_problems").rows))], []


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this: register the directives and the role."""
    for name, directive in (
        ("measured", Measured),
        ("options", Options),
        ("verdicts", Verdicts),
        ("evidence", Evidence),
        ("leaderboard", Leaderboard),
    ):
        app.add_directive(name, directive)
    app.add_role("cell", Cell())
    app.add_role("leaderboard-edges", LeaderboardEdges())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
