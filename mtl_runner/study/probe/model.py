"""From features to probabilities: logistic regressions that were fitted to fair studies."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

# The coefficients and the studies that they were fitted to; scripts/reproduce/probe.py makes it.
TRAINED = Path(__file__).with_name("trained.json")
# So far outside of the studies, as a share of their range, that a feature halves the model's word.
HALF_AT = 0.5


@dataclass(frozen=True)
class FittedQuestion:
    """A question about a problem, and the logistic regression that answers it.

    Attributes:
        intercept: Its intercept.
        coefficients: ``{feature: coefficient}`` of the standardised features; others are not used.
        base_rate: The share of the studies where the answer was yes.
        studies: The number of studies.
        brier: Its mean Brier score on families of data that were left out of the fit.
        brier_base: That of the base rate of the other families, on the same studies.
        penalty: The inverse strength of the penalty on squared coefficients.

    Example:
        >>> question = FittedQuestion(0.0, {"gain": 2.0}, 0.4, 60, 0.2, 0.24)
        >>> round(question.probability({"gain": 0.5}), 3)
        0.731
    """

    intercept: float
    coefficients: Mapping[str, float]
    base_rate: float
    studies: int
    brier: float
    brier_base: float
    penalty: float = 1.0

    def probability(self, standardised: Mapping[str, float]) -> float:
        """Return the probability of yes.

        Args:
            standardised: The features, with mean 0 and standard deviation 1 over the studies.
        """
        return sigmoid(
            self.intercept + sum(c * standardised[name] for name, c in self.coefficients.items())
        )


@dataclass(frozen=True)
class Prediction:
    """The probabilities for a problem.

    Attributes:
        probabilities: ``{question: probability of yes}``, drawn to the base rate where the problem
            lies outside of the studies.
        trust: The weight of the model in them, from 0 to 1; the rest is the base rate's.
        outside: The features that lie outside of the studies, the furthest first.
    """

    probabilities: Mapping[str, float]
    trust: float
    outside: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """A study that the probe knows.

    Attributes:
        name: Its data and options.
        family: The family of its data.
        standardised: Its features, standardised.
        gains: ``{strategy: log ratio of equal weights' test loss to the strategy's}``, above 0
            where the strategy was better.
    """

    name: str
    family: str
    standardised: Mapping[str, float]
    gains: Mapping[str, float]


@dataclass(frozen=True)
class Trained:
    """All that was fitted, and the studies that it was fitted to.

    Attributes:
        mean: The mean of each feature over the studies.
        scale: Its standard deviation.
        low: Its least value.
        high: Its largest value.
        questions: The questions by name.
        studies: The studies.

    Example:
        >>> question = FittedQuestion(0.0, {"gain": 2.0}, 0.4, 60, 0.2, 0.24)
        >>> ranges = {"low": {"gain": 0.0}, "high": {"gain": 0.2}}
        >>> trained = Trained({"gain": 0.1}, {"gain": 0.05}, **ranges, questions={"w": question})
        >>> trained.predict({"gain": 0.1}).trust, trained.predict({"gain": 0.3}).outside
        (1.0, ('gain',))
    """

    mean: Mapping[str, float]
    scale: Mapping[str, float]
    low: Mapping[str, float]
    high: Mapping[str, float]
    questions: Mapping[str, FittedQuestion]
    studies: tuple[Study, ...] = ()

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Trained:
        """Return what the file holds.

        Args:
            content: The content of ``trained.json``.
        """
        studies = tuple(Study(**study) for study in content["studies"])
        questions = {name: FittedQuestion(**q) for name, q in content["questions"].items()}
        ranges = {name: content[name] for name in ("mean", "scale", "low", "high")}
        return cls(**ranges, questions=questions, studies=studies)

    def standardised(self, features: Mapping[str, float]) -> dict[str, float]:
        """Return features with mean 0 and standard deviation 1 over the studies.

        Args:
            features: The features by name.
        """
        return {name: (features[name] - self.mean[name]) / self.scale[name] for name in self.mean}

    def predict(self, features: Mapping[str, float]) -> Prediction:
        r"""Return the probabilities for a problem.

        With d the distance of the feature that lies furthest outside of its range over the
        studies, as a share of that range, the logistic regression counts
        :math:`w = 1 / (1 + (d / 0.5)^2)` and the base rate 1 - w. No probability is nearer to 0 or
        1 than n studies can show: 1 / (n + 2), the rule of succession.

        Args:
            features: The features by name.
        """
        distances = {name: self._distance(name, features[name]) for name in self.mean}
        outside = sorted((n for n in distances if distances[n] > 0), key=lambda n: -distances[n])
        trust = 1 / (1 + (max(distances.values()) / HALF_AT) ** 2)
        standardised = self.standardised(features)
        probabilities = {}
        for name, question in self.questions.items():
            least = 1 / (question.studies + 2)
            drawn = trust * question.probability(standardised) + (1 - trust) * question.base_rate
            probabilities[name] = min(max(drawn, least), 1 - least)
        return Prediction(probabilities, trust, tuple(outside))

    def _distance(self, name: str, value: float) -> float:
        low, high = self.low[name], self.high[name]
        return max(low - value, value - high, 0.0) / max(high - low, 1e-9)


@cache
def trained() -> Trained:
    """Return what the package ships."""
    return Trained.of(json.loads(TRAINED.read_text(encoding="utf-8")))


def sigmoid(value: float) -> float:
    """Return the logistic function, also of numbers whose exponential would overflow.

    Args:
        value: The log odds.

    Example:
        >>> sigmoid(0.0), sigmoid(-1000.0)
        (0.5, 0.0)
    """
    if value < 0:
        return 1 - sigmoid(-value)
    return 1 / (1 + math.exp(-value))
