"""Columns of dates become numbers, whichever way the dates are written."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mtl_runner.data.table.columns import Features
from mtl_runner.data.table.dates import DateColumn, date_format
from mtl_runner.errors import DataError
from tests.unit.data.table.houses import fails, features_of

DAYS = pd.Series(pd.date_range("2020-01-01", periods=60, freq="11D"))
TIMES = DAYS + pd.to_timedelta(np.arange(60) * 37, unit="min")


@pytest.mark.parametrize(
    ("form", "dates"),
    [
        ("%Y-%m-%d", DAYS),
        ("%Y/%m/%d", DAYS),
        ("%d.%m.%Y", DAYS),
        ("%m/%d/%Y", DAYS),
        ("%d/%m/%Y", DAYS),
        ("%d-%b-%Y", DAYS),
        ("%Y-%m-%d %H:%M:%S", TIMES),
        ("%Y-%m-%dT%H:%M", TIMES),
    ],
)
def test_every_usual_form_gives_the_same_numbers(form: str, dates: pd.Series) -> None:
    """Breaks if 01/31/2020 and 31.01.2020 are other days, or months are read as days."""
    text = dates.dt.strftime(form)
    assert date_format(text) == form
    numbers = features_of(pd.DataFrame({"d": text}), ["d"]).transform(pd.DataFrame({"d": text}))
    own_type = features_of(pd.DataFrame({"d": dates}), ["d"])
    np.testing.assert_allclose(numbers, own_type.transform(pd.DataFrame({"d": dates})), atol=1e-5)
    assert numbers.shape == (60, 4 if dates is DAYS else 6)


def test_the_numbers_are_what_their_names_say() -> None:
    """Breaks if a model that needs the season or the weekday cannot see it."""
    dates = pd.Series(pd.to_datetime(["2021-01-04", "2021-07-05", "2021-01-10", "2022-01-04"]))
    column = DateColumn.fit(dates, "d", "", scale=True)
    numbers = np.zeros((4, column.width))
    column.write(dates, numbers)
    days = (dates - pd.Timestamp("1970-01-01")).dt.days.to_numpy()
    np.testing.assert_allclose(numbers[:, 0], (days - days.mean()) / days.std())
    assert numbers[:, 1].tolist() == [-1.5, -1.5, 1.5, -1.0]  # two Mondays, a Sunday, a Tuesday
    angle = 2 * np.pi * (dates.dt.day_of_year.to_numpy() - 1) / 365.2425
    np.testing.assert_allclose(numbers[:, 2:], np.stack([np.sin(angle), np.cos(angle)], 1))
    assert column.numbers == "day, weekday, sine and cosine of the day of the year"


def test_the_time_of_the_day_comes_round() -> None:
    """Breaks if a minute before midnight and a minute after are far from each other."""
    dates = pd.Series(pd.to_datetime(["2021-01-04 23:59", "2021-01-05 00:01", "2021-01-05 12:00"]))
    column = DateColumn.fit(dates, "d", "", scale=True)
    numbers = np.zeros((3, column.width))
    column.write(dates, numbers)
    assert np.abs(numbers[0, 4:] - numbers[1, 4:]).max() < 0.01
    np.testing.assert_allclose(numbers[2, 4:], [0, -1], atol=1e-12)


def test_a_missing_date_is_zero_and_flagged() -> None:
    """Breaks dates with gaps: they must not be days in 1677."""
    train = pd.DataFrame({"d": ["2021-01-04", None, "2021-01-08"]})
    x = features_of(train, ["d"]).transform(train)
    assert x[1].tolist() == [0, 0, 0, 0, 1]
    assert x[:, -1].tolist() == [0, 1, 0]
    without_gaps = features_of(train.dropna(), ["d"])
    assert without_gaps.transform(train)[1].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "values",
    [
        ["2021-01-04", "soon"],
        ["Rome", "Bonn"],
        [None, None],
        ["12:30", "13:00"],
        ["2021-13-01", "2021-01-01"],
        ["4.1", "5.1"],
    ],
)
def test_what_is_no_date_stays_what_it_was(values: list[str | None]) -> None:
    """Breaks if a column of names, versions or times becomes days."""
    assert date_format(pd.Series(values, dtype=object)) is None
    assert date_format(pd.Series([20210104, 20210105])) is None


def test_new_rows_are_read_as_the_training_rows() -> None:
    """Breaks if 02/03/2021 is in March for the training rows, and in February for new ones."""
    train = pd.DataFrame({"d": ["25/12/2020", "02/03/2021"]})
    features = Features.from_state(features_of(train, ["d"], scale=False).state())
    days = features.transform(pd.DataFrame({"d": ["02/03/2021", "03/03/2021"]}))[:, 0]
    assert days[1] - days[0] == pytest.approx(1, abs=1e-4)
    with fails(
        DataError,
        "Column 'd' holds dates (%d/%m/%Y) in the training rows, but '2021-03-04' in row 2; clean it or leave it out.",
    ):
        features.transform(pd.DataFrame({"d": ["02/03/2021", "2021-03-04"]}))
