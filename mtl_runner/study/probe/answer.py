"""The answer of a probe: sentences, ``probe.json`` and ``probe.md``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mtl_runner.files import write_atomic, write_json
from mtl_runner.results.text import markdown_table, markdown_text
from mtl_runner.study.probe.advice import Advice, advise
from mtl_runner.study.probe.features import FEATURES, features
from mtl_runner.study.probe.measurement import ShortRuns
from mtl_runner.study.probe.model import Prediction, Trained, trained

# {question: what it asks, in words}
QUESTIONS = {
    "weighting": "some weighting beats equal weights by more than 2 %",
    "joint": "joint training beats single-task training",
}
# Said of a question whose Brier score is no better than that of the base rate.
UNPROVEN = "; this share alone was as good a guess on families that were left out"
# Below this weight of the model a user is told why the probabilities are near the base rates.
TRUSTED = 0.95


@dataclass(frozen=True)
class Answer:
    """The answer of a probe about a problem.

    Attributes:
        measurement: What the short runs measured.
        prediction: The probabilities.
        advice: The strategies to try, the best one first.
        model: What was fitted.
        command: The command of the study that decides.
    """

    measurement: ShortRuns
    prediction: Prediction
    advice: Sequence[Advice]
    model: Trained
    command: str

    @classmethod
    def of(cls, measurement: ShortRuns, typed: Sequence[str]) -> Answer:
        """Return the answer that the shipped model gives.

        Args:
            measurement: What the short runs measured.
            typed: The options of the command line, without those of the probe.
        """
        model = trained()
        advice = advise(measurement, model)
        command = study_command(typed, [a.strategy for a in advice])
        return cls(measurement, model.predict(features(measurement)), advice, model, command)

    @property
    def questions(self) -> list[str]:
        """The questions that can be answered: without single-task runs, the first one."""
        return [q for q in QUESTIONS if q != "joint" or "single_task" in self.measurement.monitors]

    @property
    def sentences(self) -> list[str]:
        """The answer in a few sentences."""
        lines = []
        for name in self.questions:
            question = self.model.questions[name]
            known = "" if question.brier < question.brier_base else UNPROVEN
            lines.append(
                f"{100 * self.prediction.probabilities[name]:.0f} % probable that {QUESTIONS[name]} (it did in {100 * question.base_rate:.0f} % of {question.studies} studies of other problems{known})."
            )
        if len(self.questions) < len(QUESTIONS):
            lines.append(
                "single-task training cannot be run on this problem, so nothing is said of sharing."
            )
        if self.prediction.trust < TRUSTED:
            words = ", ".join(FEATURES[name] for name in self.prediction.outside[:3])
            lines.append(
                f"this problem lies outside of those studies ({words}), so these numbers are drawn to theirs."
            )
        if self.advice:
            lines.append(f"try first: {', '.join(a.words for a in self.advice)}.")
        lines.append(f"what decides is a fair study: {self.command}")
        return lines

    def write(self, directory: Path) -> None:
        """Write ``probe.json`` and ``probe.md``.

        Args:
            directory: The directory of the probe.
        """
        numbers = features(self.measurement)
        content = {
            "version": 1,
            "probabilities": {q: self.prediction.probabilities[q] for q in self.questions},
            "base_rates": {q: self.model.questions[q].base_rate for q in self.questions},
            "trust": self.prediction.trust,
            "outside": list(self.prediction.outside),
            "strategies": [a.strategy for a in self.advice],
            "sentences": self.sentences,
            "features": numbers,
            "measurement": self.measurement.as_json(),
        }
        write_json(directory / "probe.json", content)
        rows = [["feature", "here", "least in the studies", "largest"]]
        rows += [
            [words, *(f"{v:.3g}" for v in (numbers[n], self.model.low[n], self.model.high[n]))]
            for n, words in FEATURES.items()
        ]
        lines = [f"- {markdown_text(sentence)}" for sentence in self.sentences[:-1]]
        fence = ["```bash", self.command, "```"]
        text = "\n".join(
            ["# Probe", "", *lines, "", *fence, "", markdown_table(rows), "", _legend(), ""]
        )
        write_atomic(directory / "probe.md", text.encode())


def study_command(typed: Sequence[str], strategies: Sequence[str]) -> str:
    """Return the command of the fair study of some strategies; fixed weights are always in it.

    Args:
        typed: The options of the command line, without those of the probe.
        strategies: The names of the strategies.

    Example:
        >>> study_command(["data=digits"], ["famo", "fixed 1/trivial a=1 b=2"])
        'mtl-run -m +study=fair data=digits weighting=uncertainty,famo'
    """
    # As it was typed: the runner itself adds what an open key needs.
    options = [re.sub(r"^\+\+", "", o) for o in typed if not re.match(r"[+~]*hydra[./]", o)]
    named = [s for s in strategies if " " not in s and s != "single_task"]
    named = list(dict.fromkeys(["uncertainty", *named]))
    return shlex.join(["mtl-run", "-m", "+study=fair", *options, f"weighting={','.join(named)}"])


def _legend() -> str:
    return "Ratios, counts and the condition number are decimal logarithms; gains are natural ones of equal weights' monitor over the strategy's, above 0 where the strategy is better."
