"""Whether verdicts depend on a factor of the study: shown, refuted or open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from mtl_runner.results.records.evidence import DatasetEvidence, Evidence
from mtl_runner.results.verdict.dependence import dependence, interactions
from mtl_runner.results.verdict.judge import verdicts
from tests.unit.results.evidence_builders import data_of, strategy

Change = Mapping[str, float]


def group(changes: Change, seeds: int = 8, noise: float = 1.0, **levels: str) -> DatasetEvidence:
    """Return one group of a study in which strategies change the loss by so many percent."""
    methods = [
        strategy(name, "strategy", change, seeds=seeds, noise=noise)
        for name, change in changes.items()
    ]
    fixed = strategy("fixed a=2", "fixed", 4.0, seeds=seeds)
    data = data_of(strategy("equal", "equal", seeds=seeds), *methods, fixed)
    factors = tuple(levels.items())
    name = ", ".join(["d", *(f"{factor}={level}" for factor, level in factors)])
    return replace(data, name=name, problem="d", factors=factors)


def sentences(*groups: DatasetEvidence) -> list[str]:
    """Return what is said across the factors of these groups."""
    evidence = Evidence("final", "test", groups)
    return dependence(interactions(evidence, verdicts(evidence)))


def test_a_strategy_that_helps_under_one_optimizer_alone_depends_on_it() -> None:
    """Breaks if an improvement that Adam makes is told of SGD, or the number is another one."""
    groups = (
        group({"dwa": -10.0, "famo": 0.0}, optimizer="adam"),
        group({"dwa": 0.0, "famo": 0.0}, optimizer="sgd"),
    )
    (line,) = sentences(*groups)
    assert line.startswith(
        "The verdict depends on the optimizer: dwa is better than equal weights with optimizer adam, "
        "and no different from equal weights with sgd, where its loss relative to equal weights is 11 % worse (95 % interval: 11"
    )
    found = interactions(
        Evidence("final", "test", groups), verdicts(Evidence("final", "test", groups))
    )
    by_name = {pair.strategy: pair for pair in found}
    # 1 / 0.9 is 11 % more; the noise of both levels is the same here, so that it hardly counts.
    assert by_name["dwa"].difference.mean == pytest.approx(1 / 0.9 - 1, abs=1e-3)
    assert by_name["famo"].difference.mean == pytest.approx(0.0, abs=1e-9)
    assert (by_name["dwa"].is_shown, by_name["famo"].agrees) == (True, True)


def test_a_strategy_that_fails_at_one_level_depends_on_it() -> None:
    """Breaks if a strategy that diverges under SGD alone leaves a reader in doubt."""
    failing = strategy("dwa", "strategy", seeds=8, failed=range(8))
    adam, sgd = group({"dwa": -10.0}, optimizer="adam"), group({"dwa": 0.0}, optimizer="sgd")
    kept = tuple(failing if s.name == "dwa" else s for s in sgd.strategies)
    assert sentences(adam, replace(sgd, strategies=kept)) == [
        "The verdict depends on the optimizer: dwa is better than equal weights with optimizer adam, "
        "and worse than equal weights with sgd."
    ]


def test_a_strategy_that_does_not_apply_at_a_level_says_nothing_there() -> None:
    """Breaks if a method that needs Adam makes the verdict depend on the optimizer."""
    refused = strategy("dwa", "strategy", seeds=0, refused={"seed=0": "It needs Adam."})
    adam = group({"dwa": -10.0, "famo": 0.0}, optimizer="adam")
    sgd = group({"dwa": 0.0, "famo": 0.0}, optimizer="sgd")
    kept = tuple(refused if s.name == "dwa" else s for s in sgd.strategies)
    (line,) = sentences(adam, replace(sgd, strategies=kept))
    assert line.startswith("The verdict does not depend on the optimizer: with optimizer adam and")
    assert line.endswith(" sgd, famo is no different from equal weights.")


def test_the_same_verdict_everywhere_does_not_depend() -> None:
    """Breaks if a reader is left in doubt where all verdicts agree."""
    assert sentences(
        group({"dwa": 0.0, "famo": 8.0}, width="16"), group({"dwa": 0.0, "famo": 9.0}, width="64")
    ) == [
        "The verdict does not depend on the width: with width 16 and 64, dwa is no different from equal weights; "
        "famo is worse than equal weights."
    ]


def test_an_undecided_level_leaves_it_open() -> None:
    """Breaks if a significant and an insignificant result are taken for a difference."""
    (line,) = sentences(
        group({"dwa": -4.0}, optimizer="adam"),
        group({"dwa": -3.0}, noise=30.0, optimizer="sgd"),
    )
    assert line.startswith(
        "Whether the verdict depends on the optimizer is undecided for dwa, with optimizer adam and sgd. "
        "The largest difference: with optimizer sgd instead of adam, its loss relative to equal weights is "
    )


def test_two_seeds_settle_nothing() -> None:
    """Breaks if a dependence is said of fewer seeds than a verdict needs."""
    (line,) = sentences(
        group({"dwa": -20.0}, seeds=2, optimizer="adam"),
        group({"dwa": 20.0}, seeds=2, optimizer="sgd"),
    )
    assert line.startswith("Whether the verdict depends on the optimizer is undecided for dwa")


def test_each_factor_is_judged_with_the_others_held() -> None:
    """Breaks if what the width does is told of the optimizer."""
    lines = sentences(
        *(
            group({"dwa": change}, optimizer=optimizer, width=width)
            for optimizer in ("adam", "sgd")
            for width, change in (("16", 0.0), ("64", 10.0))
        )
    )
    assert lines[1].startswith("The verdict depends on the width: dwa (optimizer=adam) is no diff")
    assert "; dwa (optimizer=sgd) is no different" in lines[1]
    assert lines[0] == (
        "The verdict does not depend on the optimizer: with optimizer adam and sgd, "
        "dwa (width=16) is no different from equal weights; dwa (width=64) is worse than equal weights."
    )


def test_many_strategies_are_corrected_for() -> None:
    """Breaks if one of twenty strategies that do nothing depends on the optimizer by chance."""
    changes = {f"m{i:02}": 0.0 for i in range(20)}
    groups = group(changes, optimizer="adam"), group(changes, noise=-1.0, optimizer="sgd")
    found = interactions(
        Evidence("final", "test", groups), verdicts(Evidence("final", "test", groups))
    )
    one = interactions(
        Evidence("final", "test", tuple(replace(g, strategies=g.strategies[:2]) for g in groups)),
        verdicts(Evidence("final", "test", groups)),
    )
    assert found[0].p == pytest.approx(min(1.0, 20 * one[0].p))


def test_data_sets_without_factors_say_nothing() -> None:
    """Breaks if two data sets are taken for two levels of a factor."""
    first, second = group({"dwa": -10.0}), replace(group({"dwa": 10.0}), name="e", problem="e")
    assert sentences(first, second) == []
