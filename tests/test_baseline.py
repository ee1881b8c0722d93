"""The engine gives the numbers that were last accepted: whatever changes them must say so (see `baseline.py`)."""

import json

import numpy as np
import pytest
from baseline import CASES, HERE, measure

EXPECTED = json.loads((HERE / "baseline.json").read_text())


@pytest.fixture(scope="module")
def found():
    return measure()


@pytest.mark.parametrize("arm", [f"{case}: {arm}" for case in CASES for arm in ("untreated", "treated")])
def test_simulated_numbers_are_those_last_accepted(found, arm):
    """Counts exactly; the rest to 1e-9, because mathematical libraries differ in the last bits."""
    assert set(found[arm]) == set(EXPECTED[arm])
    for name, expected in EXPECTED[arm].items():
        np.testing.assert_allclose(found[arm][name], expected, rtol=1e-9, atol=0.0, err_msg=name)


def test_everything_happens_in_the_baseline():
    """A number that nothing moves would guard nothing; ends of BMUs other than completion are rare.

    Beside a vessel contact is whole, whatever bone and drug do: it has no share in what is lost there.
    """
    series = [name for name in EXPECTED[next(iter(EXPECTED))] if not name.startswith("state.")]
    still = {name for name in series if all(len(set(arm[name])) == 1 for arm in EXPECTED.values())}
    assert still <= {"bmu_aborted", "bmu_refused", "bmu_unused", "suitability_share_contact_perivascular"}
