"""Trial statistics against worked examples: Freireich's leukaemia trial as analysed by Gehan (1965), Cox (1972) and since.

Kaplan-Meier of 6-MP at 6, 7, 10, 13, 16, 22, 23 weeks: 0.8571, 0.8067, 0.7529, 0.6902, 0.6275, 0.5378, 0.4482; log-rank
chi-square 16.793; Cox (Efron) 1.5721 (0.4124), placebo against 6-MP (Kalbfleisch and Prentice; Kleinbaum and Klein).
"""

import numpy as np
import pandas as pd
import pytest

from niche_sim.errors import InputError
from niche_sim.resources import configs_dir
from niche_sim.statistics import analyse, estimate_survival, find_restricted_mean, read_trial

EXAMPLE = configs_dir() / "submodels" / "trial_example.csv"


@pytest.fixture(scope="module")
def tables():
    return analyse(read_trial(EXAMPLE), reference="6-MP")


def test_survival_and_greenwood_by_hand(tables):
    curve = tables["survival"].query("arm == '6-MP'").set_index("time")
    steps = {6: (21, 3), 7: (17, 1), 10: (15, 1), 13: (12, 1), 16: (11, 1), 22: (7, 1), 23: (6, 1)}
    survival, total = 1.0, 0.0
    for time, (at_risk, died) in steps.items():
        survival *= 1 - died / at_risk
        total += died / (at_risk * (at_risk - died))
        row = curve.loc[time]
        assert (row["at_risk"], row["events"]) == (at_risk, died)
        assert row["survival"] == pytest.approx(survival, rel=1e-12)
        assert row["standard_error"] == pytest.approx(survival * np.sqrt(total), rel=1e-10)
    assert curve.loc[23, "survival"] == pytest.approx(0.4482, abs=5e-5)
    assert curve.loc[6, ["lower_95", "upper_95"]].to_numpy(float) == pytest.approx([0.6197, 0.9516], abs=5e-4)


def test_medians_and_counts(tables):
    arms = tables["arms"].set_index("arm")
    assert arms.loc["placebo", ["patients", "events", "median"]].tolist() == [21, 21, 8]
    assert arms.loc["6-MP", ["patients", "events", "median"]].tolist() == [21, 9, 23]


def test_logrank_and_cox_are_the_published_ones(tables):
    row = tables["comparison"].iloc[0]
    assert row["logrank_chi2"] == pytest.approx(16.7929, abs=5e-5)
    assert row["log_hazard_ratio"] == pytest.approx(1.57213, abs=1e-5)
    assert row["standard_error"] == pytest.approx(0.412397, abs=5e-6)
    assert row["hazard_ratio"] == pytest.approx(np.exp(row["log_hazard_ratio"]))


def test_cox_maximises_the_partial_likelihood_of_efron(tables):
    frame = read_trial(EXAMPLE)
    x, time, event = (frame["arm"] == "placebo").to_numpy(float), frame["time"].to_numpy(), frame["event"].to_numpy()

    def score(beta):
        total = 0.0
        for t in np.unique(time[event == 1]):
            dead, risk = (time == t) & (event == 1), time >= t
            for k in range(dead.sum()):
                w = np.exp(beta * x) * (risk - k / dead.sum() * dead)
                total -= (w * x).sum() / w.sum()
            total += x[dead].sum()
        return total

    beta = tables["comparison"]["log_hazard_ratio"].iloc[0]
    assert abs(score(beta)) * tables["comparison"]["standard_error"].iloc[0] ** 2 < 1e-6  # the error of beta
    assert score(beta - 1e-3) > 0 > score(beta + 1e-3)


def test_restricted_mean_without_censoring_is_the_mean():
    time = np.array([1.0, 2.0, 2.0, 5.0, 9.0])
    mean, error = find_restricted_mean(estimate_survival(time, np.ones(5, int)), 9.0)
    assert mean == pytest.approx(time.mean())
    assert error == pytest.approx(time.std() / np.sqrt(5), rel=0.35)
    curve = estimate_survival(time, np.ones(5, int))
    assert find_restricted_mean(curve, 3.0)[0] == pytest.approx(np.minimum(time, 3).mean())


def test_null_trials_reject_five_in_a_hundred():
    """2,000 trials of 2 x 60 patients: 5 % rejections within 4.2 Monte-Carlo standard errors, and 0.5 % for asymptotics."""
    rng = np.random.default_rng(5)
    rejected = 0
    for _ in range(2000):
        time, limit = rng.exponential(1.0, 120), rng.uniform(0.2, 3.0, 120)
        frame = pd.DataFrame({
            "time": np.minimum(time, limit), "event": (time <= limit).astype(int), "arm": ["a"] * 60 + ["b"] * 60
        })  # fmt: skip
        rejected += analyse(frame, cox=False)["comparison"]["logrank_p"].iloc[0] < 0.05
    assert abs(rejected / 2000 - 0.05) < 4.2 * np.sqrt(0.05 * 0.95 / 2000) + 0.005


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ":1: no column time, event, arm"),
        ("time,arm\n1,a\n", ":1: no column event"),
        ("time,event,arm\n-1,1,a\n", ":2: time"),
        ("time,event,arm\n1,1,a\nnan,1,a\n", ":3: time"),
        ("time,event,arm\n1,2,a\n", ":2: event"),
        ("time,event,arm\n1,1,\n", ":2: arm"),
        ("time,event,arm\n1,1,a\n\n\n2,x,b\n", ":5: event"),
        ("time,event,arm,arm\n1,1,a,a\n", ":1: a column is there twice"),
        ("time,event,arm\n", "holds no patient"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path, text, told):
    path = tmp_path / "trial.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=told):
        read_trial(path)


def test_what_is_no_table_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(InputError):
            read_trial(path)
    (tmp_path / "binary.csv").write_bytes(b"time,event,arm\n\xff\xfe,1,a\n")
    with pytest.raises(InputError, match="UTF-8"):
        read_trial(tmp_path / "binary.csv")


def test_no_hazard_ratio_is_said():
    frame = pd.DataFrame({"time": [1.0, 2, 3, 4], "event": [1, 1, 0, 0], "arm": ["a", "a", "b", "b"]})
    with pytest.raises(InputError, match="no hazard ratio"):
        analyse(frame)
    assert len(analyse(frame, cox=False)["comparison"]) == 1
    with pytest.raises(InputError, match="no arm 'c'"):
        analyse(frame, reference="c")


def test_arms_that_do_not_overlap_and_trials_without_events_are_refused():
    apart = pd.DataFrame({"time": [1.0, 2, 3, 4], "event": [1, 1, 1, 1], "arm": ["a", "a", "b", "b"]})
    with pytest.raises(InputError, match="no finite hazard ratio"):
        analyse(apart)
    assert analyse(apart, cox=False)["comparison"]["logrank_p"].iloc[0] < 0.2
    with pytest.raises(InputError, match="no event"):
        analyse(apart.assign(event=0), cox=False)
