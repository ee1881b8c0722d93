"""Laws of population, against closed forms.

Bands. Of n replicates the mean lies within 4.2 standard errors of the truth but for one time in 37,000, and the variance,
whose standard error for near-normal counts is sqrt(2 / n) of itself, within twice that; some forty such comparisons give a
false alarm in less than one fresh seed of a hundred. Distributions are tested at p > 1e-3 (chi-square or KS).
"""

import numpy as np
import pytest
from scipy import stats

from niche_sim.errors import ResourceError
from niche_sim.submodels import population

Z = 4.2


def simulate(length="10 d", every="5 d", **keys):
    spec = population.Spec.model_validate(
        {"model": "population", "name": "t", "length": length, "every": every, "replicates": 10_000} | keys
    )
    assert population.check(spec) == []
    tables = population.run(spec, lambda fraction: None)
    for name, frame in tables.items():
        assert list(frame.columns) == list(population.COLUMNS[name])
    return tables


def moments(tables, state="total"):
    return tables["moments"].query("state == @state").set_index("time_h")


def agrees(row, mean, variance, n=10_000):
    assert abs(row["mean"] - mean) <= Z * np.sqrt(variance / n) + 1e-12
    # The kurtosis of these counts is that of a near-normal or geometric law: a band of twice the normal one holds.
    assert abs(row["variance"] - variance) <= 2 * Z * variance * np.sqrt(2 / n) + 1e-12


@pytest.mark.parametrize(("b", "d", "n0"), [(0.1, 0.11, 100), (0.1, 0.1, 50), (1.0, 1.1, 20)])
def test_birth_and_death(b, d, n0):
    """Mean n0 e^(b-d)t; variance n0 (b+d)/(b-d) e^(b-d)t (e^(b-d)t - 1), or 2 b t n0 if b = d (Kendall 1948)."""
    tables = simulate(rates={"birth": f"{b} /d", "death": f"{d} /d"}, initial={"cycling": n0}, seed=3)
    for time_h, row in moments(tables).iterrows():
        t = time_h / 24
        growth = np.exp((b - d) * t)
        spread = 2 * b * t * n0 if b == d else n0 * (b + d) / (b - d) * growth * (growth - 1)
        agrees(row, n0 * growth, spread)


def test_rare_events_of_one_cell_take_their_time():
    """Rates of a few a century: nothing in the first days, half of the cells after ln 2 / rate."""
    years = np.log(2) / 0.03
    tables = simulate(
        length=f"{years} yr", every="10 yr", rates={"death": "0.03 /yr"}, initial={"cycling": 1}, seed=15
    )
    assert moments(tables)["share_zero"].iloc[0] == 0.0
    assert abs(moments(tables)["share_zero"].iloc[-1] - 0.5) < Z * 0.5 / 100


def test_extinction_of_one_founder():
    """P(extinct by t) = d (e^(b-d)t - 1) / (b e^(b-d)t - d)."""
    b, d, t = 0.3, 0.2, 20.0
    tables = simulate(length="20 d", rates={"birth": f"{b} /d", "death": f"{d} /d"}, initial={"cycling": 1}, seed=4)
    growth = np.exp((b - d) * t)
    p = d * (growth - 1) / (b * growth - d)
    found = moments(tables)["share_zero"].iloc[-1]
    assert abs(found - p) < Z * np.sqrt(p * (1 - p) / 10_000)
    gone = tables["replicates"]["extinction_time_h"].notna().mean()
    assert gone == found


def test_pure_birth_is_geometric():
    tables = simulate(rates={"birth": "0.2 /d"}, initial={"cycling": 1}, seed=5)
    last = tables["histogram"].query("time_h == 240")
    p = np.exp(-0.2 * 10)
    edges = np.arange(1, 30)
    expected = 10_000 * np.append(p * (1 - p) ** (edges - 1), (1 - p) ** 29)
    observed = np.array([last.loc[last["total"] == k, "replicates"].sum() for k in edges])
    observed = np.append(observed, 10_000 - observed.sum())
    assert stats.chisquare(observed, expected).pvalue > 1e-3


def test_immigration_and_death_come_to_poisson():
    tables = simulate(length="100 d", every="100 d", rates={"immigration": "5 /d", "death": "0.5 /d"}, seed=6)
    agrees(moments(tables).iloc[-1], 10.0, 10.0)


@pytest.mark.parametrize("law", ["fixed", "geometric"])
def test_batches_widen_the_variance(law):
    """Stationary mean r E[m] / d, variance mean + r E[m (m - 1)] / (2 d)."""
    tables = simulate(
        length="60 d", every="60 d", rates={"batch": "1 /d", "death": "0.5 /d"}, batches={"size": 5, "law": law}, seed=7
    )
    pairs = 20.0 if law == "fixed" else 2 * 5 * 4.0  # E[m (m - 1)]; geometric from 1: 2 (1 - p) / p^2
    agrees(moments(tables).iloc[-1], 10.0, 10.0 + pairs / (2 * 0.5))


def test_scheduled_cells_enter_once():
    tables = simulate(scheduled=[{"time": "2 d", "size": 7}, {"time": "6 d", "size": 4}])
    assert moments(tables)["mean"].tolist() == [0.0, 7.0, 11.0]
    assert moments(tables)["variance"].max() == 0.0


def test_exit_from_dormancy_competes_with_death():
    rates = {"wake": "0.03 /d", "dormant_death": "0.01 /d"}
    tables = simulate(length="2000 d", every="2000 d", rates=rates, initial={"dormant": 1}, seed=8)
    first = tables["replicates"]
    assert stats.kstest(first["first_event_time_h"] / 24, stats.expon(scale=25).cdf).pvalue > 1e-3
    woke = (first["first_event"] == "wake").sum()
    assert stats.binomtest(int(woke), 10_000, 0.75).pvalue > 1e-3
    by_kind = [first.loc[first["first_event"] == kind, "first_event_time_h"] for kind in ("wake", "dormant_death")]
    assert stats.ks_2samp(*by_kind).pvalue > 1e-3


@pytest.mark.parametrize("stages", [1, 4, 20])
def test_stages_make_erlang_ages(stages):
    tables = simulate(
        length="200 d", every="200 d", rates={"birth": "0.1 /d"}, cycle_stages=stages, at_cycle_end="die",
        initial={"cycling": 1}, seed=9,
    )  # fmt: skip
    ages = tables["replicates"]["extinction_time_h"] / 24
    assert stats.kstest(ages.dropna(), stats.gamma(stages, scale=10 / stages).cdf).pvalue > 1e-3


def test_clones_of_founders_die_out_as_branches_do():
    tables = simulate(rates={"birth": "0.2 /d", "death": "0.2 /d"}, initial={"cycling": 30, "clones": True}, seed=10)
    alive = 1 / (1 + 0.2 * 10)
    agrees(moments(tables, "clones").iloc[-1], 30 * alive, 30 * alive * (1 - alive))


def test_a_sleeping_and_waking_cell_is_a_two_state_chain():
    tables = simulate(rates={"sleep": "0.3 /d", "wake": "0.1 /d"}, initial={"cycling": 10}, seed=11)
    share = 0.25 + 0.75 * np.exp(-0.4 * 10)
    agrees(moments(tables, "cycling").iloc[-1], 10 * share, 10 * share * (1 - share))


def test_halving_the_tick_halves_the_bias():
    """One draw a tick of birth and death: the mean grows by 1 + (b - d)/(b + d) (1 - e^-(b+d)dt) a tick, exactly."""
    biases = []
    for hours in (12, 6, 3):
        tables = simulate(
            method="tick", tick=f"{hours} h", rates={"birth": "0.3 /d", "death": "0.1 /d"}, initial={"cycling": 50}, seed=12,
            every="10 d",
        )  # fmt: skip
        law = 50 * (1 + 0.5 * -np.expm1(-0.4 * hours / 24)) ** (240 / hours)
        row = moments(tables).iloc[-1]
        assert abs(row["mean"] - law) < Z * row["sem"]
        biases.append(50 * np.exp(0.2 * 10) - law)
    assert biases[0] > 1.7 * biases[1] > 1.7 * 1.7 * biases[2] > 0


def test_same_seed_same_numbers_on_any_number_of_replicates():
    keys = {"rates": {"birth": "0.1 /d", "death": "0.1 /d"}, "initial": {"cycling": 5}, "seed": 13}
    few, more = simulate(replicates=2600, **keys)["replicates"], simulate(replicates=5200, **keys)["replicates"]
    assert few.equals(more.iloc[:2600])


def test_the_ceiling_is_an_error_that_names_the_replicate():
    with pytest.raises(ResourceError, match="replicate 0 met the ceiling of 100"):
        simulate(rates={"birth": "1 /d"}, initial={"cycling": 50}, ceiling=100, replicates=10)


@pytest.mark.parametrize("method", ["exact", "tick"])
@pytest.mark.parametrize("rate", [3.0, 40.0])
def test_many_arrivals_in_one_tick_are_all_counted(method, rate):
    """Without losses: Poisson of mean rate x time, however many fall into one tick (5 and 1,200 in mean here)."""
    tables = simulate(
        method=method, tick="30 h", rates={"immigration": f"{rate} /h"}, length="60 h", every="60 h", seed=14,
        replicates=2000,
    )  # fmt: skip
    agrees(moments(tables).iloc[-1], rate * 60, rate * 60, n=2000)


def test_many_batches_in_one_tick_have_sizes_of_their_own():
    """A compound Poisson number of geometric batches: variance r t E[m^2], at 180 batches a tick."""
    tables = simulate(
        method="tick", tick="6 h", rates={"batch": "30 /h"}, batches={"size": 10, "law": "geometric"}, length="60 h",
        every="60 h", replicates=4000, seed=3,
    )  # fmt: skip
    agrees(moments(tables).iloc[-1], 18_000.0, 1800 * (2 * 100 - 10), n=4000)


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ({"rates": {"batch": "1 /h"}, "batches": {"size": 2.5}}, ("batches", "size")),
        ({"rates": {"birth": "1e6 /h", "death": "1e6 /h"}, "initial": {"cycling": 100_000}}, ("replicates",)),
        ({"rates": {"immigration": "1000 /h", "emigration": "1000 /h"}, "replicates": 1_000_000}, ("replicates",)),
        ({"method": "tick", "tick": "1 s", "initial": {"cycling": 10_000}}, ("replicates",)),
    ],
)
def test_what_cannot_be_simulated_is_refused_before_it_runs(keys, where):
    spec = population.Spec.model_validate(
        {"model": "population", "name": "t", "length": "3 yr", "every": "1 yr", "replicates": 10_000} | keys
    )
    assert [path for path, _ in population.check(spec)] == [where]
