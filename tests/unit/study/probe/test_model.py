"""From features to probabilities, compared with scikit-learn."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mtl_runner.study.probe.features import FEATURES
from mtl_runner.study.probe.model import FittedQuestion, Trained, sigmoid, trained


def fitted(x: np.ndarray, y: np.ndarray) -> tuple[Trained, LogisticRegression, StandardScaler]:
    """Return a model of two features, and scikit-learn's that it was made of."""
    scaler = StandardScaler().fit(x)
    regression = LogisticRegression(C=0.5).fit(scaler.transform(x), y)
    names = ("cosine", "gain")

    def named(values: np.ndarray) -> dict[str, float]:
        return dict(zip(names, map(float, values), strict=True))

    question = FittedQuestion(
        float(regression.intercept_[0]), named(regression.coef_[0]), float(y.mean()), 30, 0.1, 0.2
    )
    ranges = (named(scaler.mean_), named(scaler.scale_), named(x.min(0)), named(x.max(0)))
    return Trained(*ranges, questions={"weighting": question}), regression, scaler


def test_probabilities_are_scikit_learns() -> None:
    """Breaks if the arithmetic of a prediction is not that of the regression that was fitted."""
    x = np.random.default_rng(0).normal(size=(30, 2)) * [1, 20] + [5, 0]
    y = x[:, 0] + x[:, 1] / 20 > 5
    model, regression, scaler = fitted(x, y)
    for row, expected in zip(x, regression.predict_proba(scaler.transform(x))[:, 1], strict=True):
        features = {"cosine": row[0], "gain": row[1]}
        fit, prediction = model.questions["weighting"], model.predict(features)
        assert fit.probability(model.standardised(features)) == pytest.approx(expected, rel=1e-9)
        # Thirty studies cannot show that something is surer than the rule of succession allows.
        said = prediction.probabilities["weighting"]
        assert said == pytest.approx(min(max(expected, 1 / 32), 31 / 32), rel=1e-9)
        assert (prediction.trust, prediction.outside) == (1.0, ())


def test_far_outside_of_the_studies_it_is_the_base_rate() -> None:
    """Breaks if a problem unlike all studies gets a confident number."""
    x = np.random.default_rng(0).normal(size=(30, 2))
    model, _, _ = fitted(x, x[:, 0] > 0)
    width = model.high["gain"] - model.low["gain"]
    half = model.predict({"cosine": 0.0, "gain": model.high["gain"] + width / 2})
    assert half.trust == pytest.approx(0.5)
    assert half.outside == ("gain",)
    far = model.predict({"cosine": 1e6, "gain": model.high["gain"] + width})
    assert far.outside == ("cosine", "gain")
    base = model.questions["weighting"].base_rate
    assert far.probabilities["weighting"] == pytest.approx(base, abs=1e-6)


@given(st.dictionaries(st.sampled_from(list(FEATURES)), st.floats(-1e6, 1e6)))
def test_what_the_package_ships_gives_probabilities(changed: dict[str, float]) -> None:
    """Breaks if some problem gets a number outside of 0 to 1, or none."""
    model = trained()
    prediction = model.predict({**model.mean, **changed})
    assert set(prediction.probabilities) == {"weighting", "joint"}
    assert all(0 <= p <= 1 for p in prediction.probabilities.values())


def test_the_package_ships_what_it_says() -> None:
    """Breaks if a feature was added without a new fit, or too few families stand behind it."""
    model = trained()
    assert list(model.mean) == list(FEATURES)
    assert len(model.studies) >= 60
    assert len({study.family for study in model.studies}) >= 6
    for question in model.questions.values():
        assert set(question.coefficients) == set(FEATURES)
        assert 0 < question.base_rate < 1


@given(st.floats(-700, 700))
def test_the_logistic_function_is_symmetric(value: float) -> None:
    """Breaks if log odds of one sign overflow."""
    assert sigmoid(value) + sigmoid(-value) == pytest.approx(1.0)


def test_a_feature_of_one_value_in_all_studies_does_not_divide_by_zero() -> None:
    """Breaks if a range of no width makes an infinite distance of rounding."""
    model = dataclasses.replace(
        trained(), low=dict.fromkeys(FEATURES, 0.0), high=dict.fromkeys(FEATURES, 0.0)
    )
    assert model.predict(dict.fromkeys(FEATURES, 0.0)).trust == 1.0
