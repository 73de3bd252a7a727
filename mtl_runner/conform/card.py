"""The card of a class: every law of its method with what was measured."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mtl_runner.conform.case import TASKS, Case, Finding, quiet_float64
from mtl_runner.conform.interfaces import recognise
from mtl_runner.conform.laws import LAWS, Method, method_of
from mtl_runner.conform.subject import Subject, first_line
from mtl_runner.errors import ConfigError, suggest
from mtl_runner.errors.words import counted

ANSWERS = {True: "yes", False: "no", None: "n/a"}


@dataclass(frozen=True)
class Entry:
    """A line of a card.

    Attributes:
        law: The name of the law.
        holds: Whether it holds; None where it does not apply.
        sentence: The law in words.
        measured: What was measured.
        expected: What the law asks for.
        source: Where the law stands.
    """

    law: str
    holds: bool | None
    sentence: str
    measured: str
    expected: str
    source: str


@dataclass(frozen=True)
class Card:
    """The result of all checks of a class.

    Attributes:
        path: The import path of the class.
        package: Its package with the version.
        method: The name of the method that it was tested as.
        paper: The paper of the method.
        called: How it was called.
        options: The options it was made with.
        reference: Our implementation that it was compared with; empty if there is none.
        left_out: The names of the laws that nobody checked.
        entries: The lines.
    """

    path: str
    package: str
    method: str
    paper: str
    called: str
    options: Mapping[str, Any]
    reference: str
    left_out: tuple[str, ...]
    entries: tuple[Entry, ...]

    @property
    def failed(self) -> list[str]:
        """The names of the laws that do not hold."""
        return [entry.law for entry in self.entries if entry.holds is False]

    @property
    def summary(self) -> str:
        """The last line: how many laws hold, and which do not."""
        applicable = [entry for entry in self.entries if entry.holds is not None]
        held = len(applicable) - len(self.failed)
        ends = f"; not: {', '.join(self.failed)}" if self.failed else ""
        skipped = len(self.entries) - len(applicable)
        none = f" ({skipped} not applicable)" if skipped else ""
        return f"{held} of {counted(len(applicable), 'law')} hold{none}{ends}."

    def text(self) -> str:
        """Return the card for the terminal."""
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        lines = [
            f"{self.path} ({self.package}) as {self.method}: {self.paper}",
            f"made with: {options or 'its defaults'}",
            f"called: {self.called}",
        ]
        if self.reference:
            lines.append(f"compared with: {self.reference} of mtl-runner")
        if self.left_out:
            lines.append(f"left out: {', '.join(self.left_out)}")
        lines.append("")
        for entry in self.entries:
            lines.append(
                f"{ANSWERS[entry.holds]:<4} {entry.law}: {entry.sentence} [{entry.source}]"
            )
            expected = f"; expected: {entry.expected}" if entry.expected else ""
            lines.append(f"     {entry.measured}{expected}")
        return "\n".join([*lines, "", self.summary])

    def as_json(self) -> dict[str, Any]:
        """Return the card as plain values."""
        return {**asdict(self), "options": {k: str(v) for k, v in self.options.items()}}


def make_card(
    subject: Subject,
    name: str,
    reference_options: Mapping[str, Any] | None = None,
    without: Collection[str] = (),
) -> Card:
    """Check every law of a method on a class, in float64.

    Args:
        subject: The class.
        name: The name of the method.
        reference_options: Options of our implementation, and numbers of the method's laws.
        without: Names of laws that are left out.

    Raises:
        ConfigError: If the method is unknown, or the class cannot be made or called.

    Example:
        >>> from mtl_runner.conform.subject import load_subject
        >>> card = make_card(load_subject("mtl_runner.weighting.FAMO", {}), "famo")
        >>> card.failed
        []
    """
    method = method_of(name)
    for law in without:
        if law not in method.laws:
            raise ConfigError(f"--without {law} is no law of {name}; {suggest(law, method.laws)}.")
    options = dict(reference_options or {})
    settings = {**method.settings, **{k: v for k, v in options.items() if k in method.settings}}
    own_options = {k: v for k, v in options.items() if k not in method.settings}
    if own_options and method.reference is None:
        numbers = ", ".join(method.settings) or "no numbers"
        raise ConfigError(
            f"--reference {next(iter(own_options))} is no number of the laws of {name}, which have {numbers}."
        )
    with quiet_float64():
        reference = method.reference.with_options(own_options) if method.reference else None
        interface = recognise(subject, method.wants_rows)
        case = Case(subject, interface, reference, method.keeps_epochs, settings)
        hooks = case.session(TASKS).hooks
        entries = tuple(
            _entry(law, place, method, case)
            for law, place in method.laws.items()
            if law not in without
        )
    return Card(
        subject.path,
        subject.package,
        name,
        method.paper,
        "; ".join([interface.text, *hooks]),
        subject.options,
        reference.text if reference else "",
        tuple(without),
        entries,
    )


def _entry(law_name: str, place: str, method: Method, case: Case) -> Entry:
    """Return the line of a law; an error of the class is a law that does not hold."""
    law = LAWS[law_name]
    try:
        finding = law.check(case)
    except Exception as error:  # somebody else's code may raise anything
        finding = Finding(False, first_line(error), "a result")
    source = place or law.source
    source = method.paper if source == "definition" else source
    return Entry(law_name, finding.holds, law.sentence, finding.measured, finding.expected, source)
