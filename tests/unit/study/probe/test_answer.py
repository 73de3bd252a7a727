"""What a probe says, and what it leaves."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path

import pytest

from mtl_runner.study.probe.answer import QUESTIONS, Answer
from mtl_runner.study.probe.features import features
from mtl_runner.study.probe.measurement import ShortRuns
from mtl_runner.study.probe.model import trained
from tests.unit.study.probe.measurements import measurement

TYPED = ["data=digits", "++model.hidden=[8, 8]", "hydra/launcher=basic"]


def test_the_sentences_say_both_probabilities_with_their_base_rates() -> None:
    """Breaks if a number is printed without what it has to be compared with."""
    answer = Answer.of(measurement(), TYPED)
    for name, sentence in zip(QUESTIONS, answer.sentences, strict=False):
        question, said = trained().questions[name], answer.prediction.probabilities[name]
        assert sentence.startswith(
            f"{100 * said:.0f} % probable that {QUESTIONS[name]} (it did in {100 * question.base_rate:.0f} % of {question.studies} studies of other problems"
        )
    assert answer.sentences[-2].startswith("try first: ")
    assert answer.sentences[-2].count("in the short runs") == 3


@pytest.mark.parametrize("brier", [0.1, 0.3])
def test_a_question_that_it_cannot_answer_is_said_to_be(brier: float) -> None:
    """Breaks if a number is shown as knowledge that the share of the studies is worth as much."""
    answer = Answer.of(measurement(), TYPED)
    questions = {
        name: dataclasses.replace(question, brier=brier, brier_base=0.2)
        for name, question in answer.model.questions.items()
    }
    model = dataclasses.replace(answer.model, questions=questions)
    said = dataclasses.replace(answer, model=model).sentences[:2]
    words = "; this share alone was as good a guess on families that were left out)."
    assert [sentence.endswith(words) for sentence in said] == [brier > 0.2] * 2


def test_the_command_at_the_end_is_that_of_a_fair_study() -> None:
    """Breaks if it cannot be pasted, or studies other data or strategies that it does not know."""
    command = shlex.split(Answer.of(measurement(), TYPED).command)
    assert command[:5] == ["mtl-run", "-m", "+study=fair", "data=digits", "model.hidden=[8, 8]"]
    assert command[5].startswith("weighting=uncertainty")
    assert len(command) == 6


def test_a_problem_outside_of_the_studies_is_said_to_be() -> None:
    """Breaks if a number near the base rate looks like one of this problem."""
    said = Answer.of(measurement(rows=10**9), TYPED).sentences
    (sentence,) = (s for s in said if s.startswith("this problem lies outside"))
    assert "training rows" in sentence


def test_without_single_task_runs_nothing_is_said_of_sharing() -> None:
    """Breaks if an equation, whose residual cannot be trained alone, gets such a number."""
    monitors = {n: m for n, m in measurement().monitors.items() if n != "single_task"}
    answer = Answer.of(measurement(monitors=monitors), TYPED)
    assert not any("joint training beats" in sentence for sentence in answer.sentences)
    assert (
        "single-task training cannot be run on this problem, so nothing is said of sharing."
        in answer.sentences
    )


def test_the_files_hold_what_was_said(tmp_path: Path) -> None:
    """Breaks if probe.json cannot be read again, or probe.md lacks a feature."""
    answer = Answer.of(measurement(), TYPED)
    answer.write(tmp_path)
    content = json.loads((tmp_path / "probe.json").read_text())
    assert content["sentences"] == answer.sentences
    assert set(content["probabilities"]) == set(QUESTIONS)
    assert features(ShortRuns.of(content["measurement"])) == content["features"]
    page = (tmp_path / "probe.md").read_text()
    assert page.count("| ") > len(content["features"])
    assert answer.command in page
