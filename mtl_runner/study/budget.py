"""The option ``study.budget``: how many runs a study may take."""

from __future__ import annotations

import math
import re
from typing import Any

from mtl_runner.errors import ConfigError
from mtl_runner.errors.words import counted
from mtl_runner.study.extent import EAGER_START
from mtl_runner.study.launching import CountsRuns
from mtl_runner.train.terminal import say

# Units of time in which a budget may be given.
SECONDS = {"minute": 60.0, "hour": 3600.0}


class Budget:
    """The most runs of a study.

    A time is turned into runs once: by the first run, which trains by itself. Stacks and several
    jobs at a time need less than that.

    Args:
        asked: The option.
        steps: The steps of a run.
        seconds: What a run takes by itself, as the study has recorded it; NaN if it has not.

    Attributes:
        limit: The number of runs; NaN as long as a time is not turned into runs.

    Raises:
        ConfigError: If the option is no budget.

    Example:
        >>> Budget("200000 steps", steps=600).limit
        333
        >>> Budget("20 minutes", steps=600).is_open
        True
    """

    def __init__(self, asked: Any, steps: int, seconds: float = math.nan) -> None:
        self.asked, self.steps = asked, steps
        self.limit = run_limit(asked, steps, seconds)

    @property
    def is_open(self) -> bool:
        """Whether a run has to be measured first."""
        return math.isnan(self.limit)

    def measure(self, seconds: float) -> float:
        """Turn the time into runs, and say so.

        Args:
            seconds: The training time of the first run; NaN if it failed.

        Returns:
            The seconds that a run is taken to need, with its start; they are to be recorded.

        Raises:
            ConfigError: If the run failed.
        """
        if math.isnan(seconds):
            raise ConfigError(
                f"study.budget={self.asked!r} cannot be turned into runs, since the first run failed; give a number of runs (400)."
            )
        seconds += EAGER_START
        self.limit = run_limit(self.asked, self.steps, seconds)
        say(
            f"study: the first run took {seconds:.2g} s, so {self.asked} are {counted(int(self.limit), 'run')}, one after another."
        )
        return seconds

    def check(self, extent: CountsRuns) -> None:
        """Check that a study is within the budget, as far as that is known.

        Args:
            extent: The runs of the study.

        Raises:
            ConfigError: If even without an extension it could need more runs.
        """
        if extent.most_without_extension > self.limit:
            in_runs = re.fullmatch(r"\d+(\s*runs?)?", str(self.asked).strip())
            allowed = "" if in_runs else f" ({counted(int(self.limit), 'run')})"
            shorter = "" if in_runs else ", or trainer.epochs"
            raise ConfigError(
                f"The study may need {extent.most_without_extension} runs, more than study.budget={self.asked}{allowed} allows; "
                f"raise it, or lower study.seeds, study.tuning_seeds or study.fixed_points{shorter}."
            )


def run_limit(budget: Any, steps: int, seconds: float = math.nan) -> float:
    """Return the largest number of runs that ``study.budget`` allows.

    Args:
        budget: A number of runs (``400``), of steps (``"200000 steps"``), a time (``"20 minutes"``)
            or None for no limit.
        steps: The steps of a run.
        seconds: The seconds that a run takes by itself; NaN as long as nobody knows.

    Returns:
        The number; infinite without a limit, NaN for a time that cannot be turned into runs yet.

    Raises:
        ConfigError: If the budget is none of these.

    Example:
        >>> run_limit("200000 steps", 600), run_limit("20 minutes", 600, 2.5), run_limit(None, 600)
        (333, 480, inf)
    """
    if budget is None:
        return math.inf
    text = "" if isinstance(budget, bool) else str(budget).strip()
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(?:\s*(run|step|minute|hour)s?)?", text)
    number, unit = (float(match.group(1)), match.group(2)) if match else (0.0, "")
    if number <= 0 or (unit not in SECONDS and number != int(number)):
        raise ConfigError(
            f"study.budget={budget!r} is unknown; give a number of runs (400), of steps ('200000 steps') or a time ('20 minutes')."
        )
    if unit in SECONDS:
        return math.nan if math.isnan(seconds) else int(number * SECONDS[unit] / seconds)
    return int(number) // steps if unit == "step" else int(number)
