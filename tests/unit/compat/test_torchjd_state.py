"""The state of TorchJD's aggregators in a checkpoint."""

from __future__ import annotations

import copy
from importlib.metadata import version

import pytest
import torch

from mtl_runner.compat.torchjd_state import STATES, get_state, set_state


@pytest.mark.parametrize("name", STATES)
def test_the_state_of_an_aggregator_comes_back(name: str) -> None:
    """Breaks if a new TorchJD keeps a state elsewhere, so that a resumed run begins anew."""
    aggregation = pytest.importorskip("torchjd.aggregation")
    rows = [torch.randn(3, 5, generator=torch.Generator().manual_seed(seed)) for seed in range(4)]
    first, second = getattr(aggregation, name)(), getattr(aggregation, name)()
    for row in rows[:3]:
        first(row)
    saved = copy.deepcopy(get_state(first))
    assert saved, (
        f"torchjd {version('torchjd')} moved the state of {name}; mend mtl_runner/compat/torchjd_state.py."
    )
    set_state(second, saved)
    torch.manual_seed(0)
    expected = first(rows[3])
    torch.manual_seed(0)
    torch.testing.assert_close(second(rows[3]), expected)


def test_an_aggregator_without_state_has_nothing_to_save() -> None:
    """Breaks if a checkpoint of another aggregator's run is written into this one."""
    mean = pytest.importorskip("torchjd.aggregation").Mean()
    assert get_state(mean) == {}
    set_state(mean, {"_phi_t": torch.zeros(2)})
    assert not hasattr(mean, "_phi_t")
