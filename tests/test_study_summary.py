"""What a study found, against answers that are known: Ishigami's function, linear models, variances, a smooth surface."""

import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from niche_sim.errors import InputError
from niche_sim.study.estimates import estimate_rows
from niche_sim.study.indices import correlate_ranks, decompose, decompose_pairs, screen
from niche_sim.study.results import StudyResults, count_runs, match_runs
from niche_sim.study.summary import average_points, split_variance, summarise
from niche_sim.study.trends import compare_ends, trace_response


def lay_saltelli(sample, second_order=False):
    """Blocks of Saltelli's design from a sample of twice as many columns as factors."""
    factors = sample.shape[1] // 2
    a, b = sample[:, :factors], sample[:, factors:]
    blocks = [a]
    for base, other in ((a, b), (b, a))[: 2 if second_order else 1]:
        for i in range(factors):
            blocks.append(base.copy())
            blocks[-1][:, i] = other[:, i]
    return np.stack([*blocks, b], axis=1).reshape(-1, factors)


def lay_trajectories(number, factors, seed=0, levels=4):
    """Morris trajectories in the unit cube, every factor once up or down by delta in a random order."""
    draw, delta = np.random.default_rng(seed), levels / (2 * (levels - 1))
    points = []
    for _ in range(number):
        here = draw.integers(0, levels // 2, factors) / (levels - 1)
        up = draw.random(factors) < 0.5
        here = np.where(up, here, here + delta)
        points.append(here)
        for i in draw.permutation(factors):
            here = here.copy()
            here[i] += delta if up[i] else -delta
            points.append(here)
    return np.array(points)


def ishigami(x):
    return np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])


@pytest.fixture(scope="module")
def blocks():
    sample = stats.qmc.Sobol(6, rng=np.random.default_rng(1)).random(2**12)
    return lay_saltelli(np.pi * (2 * sample - 1), second_order=True)


# First order 0.3139, 0.4424, 0; total 0.5576, 0.4424, 0.2437; x1 with x3 0.2437 (Ishigami and Homma 1990, a = 7, b = 0.1).
FIRST, TOTAL = [0.31391, 0.44241, 0.0], [0.55759, 0.44241, 0.24368]


def test_sobol_indices_of_ishigami(blocks):
    found = decompose(blocks, ishigami(blocks)[:, None], second_order=True)
    assert found["first"].to_numpy() == pytest.approx(FIRST, abs=0.01)
    assert found["total"].to_numpy() == pytest.approx(TOTAL, abs=0.01)
    for name, known in (("first", FIRST), ("total", TOTAL)):
        assert (found[f"{name}_low"] < known).all() and (known < found[f"{name}_high"]).all()
    pairs = decompose_pairs(blocks, ishigami(blocks)[:, None]).set_index(["one", "other"])["second"]
    assert pairs.to_dict() == pytest.approx({(0, 1): 0.0, (0, 2): 0.24368, (1, 2): 0.0}, abs=0.01)


def test_sobol_indices_are_those_of_scipy():
    sample = stats.qmc.Sobol(6, rng=np.random.default_rng(2)).random(256)
    x = lay_saltelli(np.pi * (2 * sample - 1))
    y = ishigami(x).reshape(-1, 5)
    its = {"f_A": y[:, 0][None], "f_B": y[:, -1][None], "f_AB": y[:, 1:-1].T[:, None]}
    known = stats.sobol_indices(func=its, n=256)
    found = decompose(x, y.reshape(-1, 1))
    assert found["first"].to_numpy() == pytest.approx(known.first_order, abs=1e-12)
    assert found["total"].to_numpy() == pytest.approx(known.total_order, abs=1e-12)


def test_failed_runs_take_only_what_needs_them_from_sobol_indices(blocks):
    y = ishigami(blocks)[:, None]
    y[1] = np.nan  # A with factor 0 of B, of the first block
    found = decompose(blocks, y, second_order=True)
    assert found["blocks"].tolist() == [2**12 - 1, 2**12, 2**12] and (found["blocks_planned"] == 2**12).all()
    assert found["total"].to_numpy() == pytest.approx(TOTAL, abs=0.01)


def test_noise_is_told_apart_in_total_indices():
    x = lay_saltelli(np.random.default_rng(3).random((400, 4)))
    noise = np.random.default_rng(4).normal(0, 0.5, (len(x), 3))
    found = decompose(x, x[:, :1] + noise)  # var 1/12 of the first factor; noise 0.25 / 3 in a mean over replicates
    assert found["noise"].to_numpy() == pytest.approx([0.5, 0.5], abs=0.06)
    assert found["total"].to_numpy() == pytest.approx([1.0, 0.5], abs=0.1)
    quiet = decompose(x, x[:, :1] + noise[:1])  # the same noise at every point is no noise between them
    assert quiet["noise"].to_numpy() == pytest.approx([0.0, 0.0], abs=1e-12)


def test_points_that_are_no_blocks_or_trajectories_are_refused(blocks):
    with pytest.raises(InputError, match="Saltelli"):
        decompose(blocks[::-1], ishigami(blocks)[:, None], second_order=True)
    with pytest.raises(InputError, match="trajectories of 4"):
        screen(blocks[:5], blocks[:5, :1], 4)
    with pytest.raises(InputError, match="two factors"):
        screen(blocks[[0, 7, 8, 9]], blocks[:4, :1], 4)


def test_morris_of_a_linear_model_is_exact():
    slopes = np.array([3.0, -1.0, 0.0, 0.5])
    x = lay_trajectories(6, 4)
    found = screen(100 * x, (x @ slopes)[:, None], 4)  # whatever the units of the factors
    assert found["mu"].to_numpy() == pytest.approx(slopes)
    assert found["mu_star"].to_numpy() == pytest.approx(abs(slopes))
    assert found["sigma"].to_numpy() == pytest.approx(0, abs=1e-6)
    assert found[["mu_star_low", "mu_star_high"]].to_numpy() == pytest.approx(np.tile(abs(slopes)[:, None], 2))


def test_morris_sees_interaction_and_noise_and_counts_what_failed():
    x = lay_trajectories(40, 3, seed=5)
    exact = x[:, 0] + 4 * x[:, 0] * x[:, 1]
    noise = np.random.default_rng(6).normal(0, 0.2, (len(x), 4))
    y = exact[:, None] + noise
    y[0] = np.nan
    found = screen(x, y, 4)
    assert (found["sigma"] > [1, 1, 0]).all() and found["mu_star"][2] == pytest.approx(found["noise"][2], rel=0.35)
    # The mean size of a normal error: two means of four runs, over delta = 2/3.
    assert found["noise"].to_numpy() == pytest.approx(np.sqrt(2 / np.pi) * np.sqrt(2 * 0.04 / 4) * 1.5, rel=0.15)
    assert found["effects"].sum() == 3 * 40 - 1 and (found["effects_planned"] == 40).all()


def test_rank_correlations_are_partial():
    draw = np.random.default_rng(7)
    x = draw.random((300, 4))
    x[:, 1] = 0.7 * x[:, 0] + 0.3 * x[:, 1]  # rises with the first, and does nothing
    y = np.exp(3 * x[:, 0]) - 2 * x[:, 2] + draw.normal(0, 0.3, 300)
    found = correlate_ranks(x, y[:, None])
    alone = stats.spearmanr(x[:, 1], y).statistic
    assert alone > 0.8 and found["low"][1] < 0 < found["high"][1]
    assert found["prcc"][0] > 0.9 and found["prcc"][2] < -0.6 and abs(found["prcc"][3]) < 0.15
    # By the inverse of the matrix of rank correlations, which is another way to the same number.
    inverse = np.linalg.inv(stats.spearmanr(np.column_stack([x, y])).statistic)
    known = -inverse[:4, 4] / np.sqrt(np.diag(inverse)[:4] * inverse[4, 4])
    assert found["prcc"].to_numpy() == pytest.approx(known, abs=1e-9)


def test_intervals_of_rank_correlations_hold_at_their_level():
    draw = np.random.default_rng(8)
    held = [correlate_ranks(draw.random((40, 3)), draw.random((40, 1))) for _ in range(200)]
    inside = np.mean([((one["low"] < 0) & (one["high"] > 0)).mean() for one in held])
    assert inside == pytest.approx(0.95, abs=0.03)


def test_rank_correlation_needs_points_and_factors_that_vary():
    x = np.random.default_rng(9).random((30, 3))
    x[:, 1] = 2.0
    found = correlate_ranks(x, x[:, :1])
    assert found["prcc"][0] == pytest.approx(1) and np.isnan(found["prcc"][1])
    with pytest.raises(InputError, match="3 factors need 6 points or more, not 5"):
        correlate_ranks(x[:5], x[:5, :1])


def test_ends_of_a_factor():
    grid = np.array(list(itertools.product([1.0, 2.0, 4.0], [10.0, 20.0])))
    found = compare_ends(grid, (3 * grid[:, 0] + grid[:, 1])[:, None])
    assert found["swing"].tolist() == [9, 10] and found["value_low"].tolist() == [1, 10]
    assert found["response_low"].tolist() == [18, 17] and found["points"].tolist() == [4, 6]
    first, second = np.array([13.0, 23.0]), np.array([22.0, 32.0])  # the first factor at 1 and at 4
    known = stats.ttest_ind(second, first, equal_var=False).confidence_interval()
    assert found.loc[0, ["swing_low", "swing_high"]].tolist() == pytest.approx([known.low, known.high])
    many = np.linspace(0, 1, 101)[:, None]
    assert compare_ends(many, many)["swing"][0] == pytest.approx(0.8)  # means of the lowest and highest fifth


def test_course_along_a_factor():
    values = np.linspace(0, 1, 80)
    found = trace_response(values, np.column_stack([values**2, values**2 + 1]))
    assert found["points"].tolist() == [10] * 8
    assert found["mean"].to_numpy() == pytest.approx((values**2).reshape(8, 10).mean(axis=1) + 0.5)


# Variance ----------------------------------------------------------------------------------------------------------------


def test_variance_is_split_as_by_hand():
    found = split_variance(np.array([[1.0, 2.0], [3.0, 6.0]]))
    # Mean squares: points 9, seeds 4, rest 1; (9 - 1) / 2 and (4 - 1) / 2 are over what the rest alone would give.
    assert [found[f"variance_{name}"] for name in ("parameters", "seed", "rest")] == pytest.approx([4, 1.5, 1])
    assert found["parameter_share"] == pytest.approx(4 / 6.5)


def test_known_variances_are_found():
    draw = np.random.default_rng(10)
    held = []
    for _ in range(60):
        parts = 2.0 * draw.normal(size=(50, 1)), 1.0 * draw.normal(size=(1, 4)), 0.5 * draw.normal(size=(50, 4))
        held.append(split_variance(sum(parts)))
    means = {name: np.mean([one[f"variance_{name}"] for one in held]) for name in ("parameters", "seed", "rest")}
    assert means == pytest.approx({"parameters": 4.0, "seed": 1.0, "rest": 0.25}, rel=0.2)
    shares = np.array([[one["share_low"], one["parameter_share"], one["share_high"]] for one in held])
    assert (shares[:, 0] < shares[:, 1]).all() and (shares[:, 1] < shares[:, 2]).all()


def test_variance_of_chance_alone_and_of_parameters_alone():
    noise = split_variance(np.random.default_rng(11).normal(size=(200, 5)))
    assert noise["parameter_share"] < 0.1 and noise["share_low"] < 0.02
    sure = split_variance(np.tile(np.arange(5.0)[:, None], 3))
    assert sure["parameter_share"] == 1 and sure["variance_parameters"] == pytest.approx(2.5)
    assert np.isnan(split_variance(np.arange(5.0)[:, None])["parameter_share"])  # one replicate: it cannot be known


def test_points_that_lack_a_replicate_are_left_out_of_the_split_and_counted():
    y = np.random.default_rng(12).normal(size=(20, 3))
    y[4, 1] = np.nan
    found = split_variance(y)
    assert found["points_complete"] == 19
    assert found["variance_rest"] == split_variance(np.delete(y, 4, axis=0))["variance_rest"]


# Tables of a study -------------------------------------------------------------------------------------------------------

RANGES = {
    "dose": (1.0, 4.0, "mg", "linear"), "dormancy.exit_rate": (1e-4, 1e-2, "1/d", "log"), "idle": (0.0, 1.0, "", "linear"),
}  # fmt: skip


def make_study(kind="latin_hypercube", points=40, replicates=3, arms=("control", "treated"), spoil=True):
    """A made-up study with its runs: escape rises with the rate, the dose of the treated arm halves it at most."""
    draw, names = np.random.default_rng(13), list(RANGES)
    cube = {
        "morris": lambda: lay_trajectories(points, 3), "saltelli": lambda: lay_saltelli(draw.random((points, 6))),
        "grid": lambda: np.array(list(itertools.product(np.linspace(0, 1, 5), np.linspace(0, 1, 4), [0.0, 1.0]))),
    }.get(kind, lambda: stats.qmc.LatinHypercube(3, rng=draw).random(points))()  # fmt: skip
    design = pd.DataFrame({"point": np.arange(len(cube))})
    for u, (name, (low, high, unit, scale)) in zip(cube.T, RANGES.items()):
        value = low * (high / low) ** u if scale == "log" else low + (high - low) * u
        design[name], design[f"{name}.value"] = [f"{one!r} {unit}".strip() for one in value.tolist()], value
    noise = draw.normal(0, 0.2, (len(cube), replicates))
    rows = []
    for (point, replicate), error in np.ndenumerate(noise):
        for arm in arms:
            protection = 0.5 * cube[point, 0] if arm == "treated" else 0.0
            escape = (4 + 6 * cube[point, 1]) * (1 - protection) + error
            first = 100 / escape if escape > 5 else np.nan
            key = f"{point}-{replicate}-{arm}"
            rows.append((point, replicate, arm, key, "done", "", escape, first))
    held = pd.DataFrame(rows, columns=["point", "replicate", "arm", "key", "status", "error", "cycling_end", "first_h"])
    planned = held[["point", "replicate", "arm", "key"]]
    if spoil:
        held.loc[held["key"] == "2-1-treated", ["status", "error"]] = ["failed", "NumericalError: growth factor is NaN"]
        held.loc[held["status"] == "failed", ["cycling_end", "first_h"]] = np.nan
        held = held[held["key"] != "3-0-control"]
    endpoints = [("cycling_end", "cycling", "end", None), ("first_h", "cycling", "first_above", 10.0)]
    study = SimpleNamespace(
        name="made_up", title="A made-up study", note="", arms=arms, replicates=replicates, constraints=(),
        design=SimpleNamespace(kind=kind, points=points, seed=1, levels=4, second_order=False),
        factors=tuple(
            SimpleNamespace(
                name=name, unit=unit, scale=scale, low=low, high=high, values=(), distribution="uniform",
                places=("arms.treated.regimen.0.dose",) if name == "dose" else (name,),
            )
            for name, (low, high, unit, scale) in RANGES.items()
        ),
        endpoints=tuple(SimpleNamespace(name=n, column=c, take=t, argument=a) for n, c, t, a in endpoints),
    )  # fmt: skip
    assert names == [factor.name for factor in study.factors]
    return StudyResults(study, design, match_runs(planned, held))


@pytest.fixture(scope="module")
def results():
    return make_study()


@pytest.fixture(scope="module")
def tables(results):
    return summarise(results)[0]


def test_runs_are_counted_in_every_table(results, tables):
    assert count_runs(results.runs) == {"planned": 240, "done": 238, "failed": 1, "missing": 1}
    assert tables["runs"].set_index("arm")[["failed", "missing"]].to_dict("list") == {"failed": [0, 1], "missing": [1, 0]}
    assert set(tables) == {"runs", "failures", "responses", "prcc", "tornado", "points", "contrasts"}
    for name in ("responses", "prcc", "tornado"):
        held = tables[name].query("response == 'treated − control'")
        assert (held[["planned", "done", "failed", "missing"]] == [240, 238, 1, 1]).to_numpy().all()
    held = tables["contrasts"].query("point == 2 and endpoint == 'cycling_end'").iloc[0]
    assert held[["planned", "done", "failed", "missing", "values"]].tolist() == [6, 5, 1, 0, 2]
    assert tables["failures"][["point", "replicate", "arm", "error"]].values.tolist() == [
        [2, 1, "treated", "NumericalError: growth factor is NaN"]
    ]


def test_means_by_point(results, tables):
    table = tables["points"]
    row = table.query("point == 2 and arm == 'treated' and endpoint == 'cycling_end'").iloc[0]
    runs = results.runs.query("point == 2 and arm == 'treated' and status == 'done'")["cycling_end"]
    known = stats.ttest_1samp(runs, 0).confidence_interval()
    assert (row["planned"], row["done"], row["failed"], row["values"]) == (3, 2, 1, 2)
    assert row[["mean", "sd", "low", "high"]].tolist() == pytest.approx([runs.mean(), runs.std(), known.low, known.high])
    assert len(table) == 40 * 2 * 2
    assert table.set_index("endpoint")["unit"].to_dict() == {"cycling_end": "count", "first_h": "h"}
    never = table.query("endpoint == 'first_h' and done > values")  # done, but it never happened
    assert len(never) and (never["done"] + never["failed"] + never["missing"] == 3).all()


def test_arms_are_compared_run_by_run(results, tables):
    table = tables["contrasts"].query("endpoint == 'cycling_end'")
    exit_share = np.log(results.values("dormancy.exit_rate") / 1e-4) / np.log(100)
    known = -(4 + 6 * exit_share) * 0.5 * (results.values("dose") - 1) / 3
    assert table["difference"].to_numpy() == pytest.approx(known)  # noise that arms share is gone
    assert table["sd"].dropna().to_numpy() == pytest.approx(0, abs=1e-12)
    assert ((table["ratio_low"] <= table["ratio"]) & (table["ratio"] <= table["ratio_high"])).all()
    row = table.iloc[0]
    pairs = results.runs.query("point == 0").pivot(index="replicate", columns="arm", values="cycling_end")
    assert row["ratio"] == pytest.approx(pairs["treated"].mean() / pairs["control"].mean())


def test_ratios_to_nothing_are_not_there():
    results = make_study(spoil=False)
    results.runs["cycling_end"] = np.where(results.runs["arm"] == "control", 0.0, 1.0)
    table = summarise(results)[0]["contrasts"].query("endpoint == 'cycling_end'")
    assert table["ratio"].isna().all() and (table["difference"] == 1).all()


def test_what_parameters_do_is_told_from_chance(tables):
    share = tables["responses"].query("endpoint == 'cycling_end'").set_index("response")["parameter_share"]
    assert 0.97 < share["control"] < 1 and share["treated − control"] == pytest.approx(1)
    best = tables["prcc"].query("endpoint == 'cycling_end'").set_index(["response", "factor"])["prcc"]
    assert best["control", "dormancy.exit_rate"] > 0.9 and best["treated − control", "dose"] < -0.8


def test_reference_can_be_chosen(results):
    other = StudyResults(results.study, results.design, results.runs, "treated")
    assert list(other.responses) == ["control", "treated", "control − treated"]
    with pytest.raises(InputError, match="no arm 'contrl'; there is control, treated"):
        StudyResults(results.study, results.design, results.runs, "contrl")


@pytest.mark.parametrize(("kind", "points", "names"), [
    ("morris", 8, {"morris"}), ("saltelli", 16, {"sobol", "prcc", "tornado"}), ("grid", 0, {"prcc", "tornado"}),
])  # fmt: skip
def test_designs_have_their_indices(kind, points, names):
    found = summarise(make_study(kind, points))[0]
    assert set(found) - {"runs", "failures", "responses", "points", "contrasts"} == names
    assert (found["responses"]["failed"].max(), found["responses"]["missing"].max()) == (1, 1)


def test_runs_that_points_share_count_once():
    planned = pd.DataFrame({"point": [0, 1, 0, 1], "replicate": 0, "arm": ["a", "a", "b", "b"], "key": ["x", "x", "y", "z"]})
    rows = pd.DataFrame({"key": ["x", "y"], "status": ["done", "failed"], "error": ["", "boom"], "size": [2.0, np.nan]})
    runs = match_runs(planned, rows)
    assert count_runs(runs) == {"planned": 3, "done": 1, "failed": 1, "missing": 1}
    assert runs["status"].tolist() == ["done", "done", "failed", "missing"] and runs["size"][1] == 2.0


def test_nothing_done_yet_is_said(results):
    empty = results.runs.assign(status="missing")
    with pytest.raises(InputError, match="nothing to summarise yet: 240 runs planned, 0 done, 240 missing"):
        summarise(StudyResults(results.study, results.design, empty))


# Emulator ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smooth():
    """A study of a smooth surface, 60 points, and an emulator trained on it."""
    pytest.importorskip("sklearn")
    from niche_sim.study.emulator import train

    results = make_study(points=60, arms=("treated",), spoil=False)
    rate = np.log(results.values("dormancy.exit_rate") / 1e-4) / np.log(100)
    surface = surface_at(rate, results.values("dose"))
    place = results.runs["point"].to_numpy()
    noise = np.random.default_rng(14).normal(0, 0.05, len(place))
    runs = results.runs.assign(cycling_end=surface[place] + noise)
    results = StudyResults(results.study, results.design, runs)
    return results, train(results, "cycling_end", "treated")


def surface_at(rate, dose):
    return 5 * np.sin(3 * rate) + dose**2 / 4


def test_emulator_of_a_smooth_surface(smooth):
    results, emulator = smooth
    draw = np.random.default_rng(15)
    rate, dose = draw.uniform(0.05, 0.95, 100), draw.uniform(1.1, 3.9, 100)
    mean, low, high = emulator.predict(np.column_stack([dose, 1e-4 * 100**rate, draw.uniform(0.05, 0.95, 100)]))
    known = surface_at(rate, dose)
    assert np.sqrt(np.mean((mean - known) ** 2)) < 0.1 and np.mean((low <= known) & (known <= high)) > 0.85
    assert emulator.q2 > 0.99 and emulator.rmse < 0.15 and emulator.coverage > 0.85
    assert emulator.rmse**2 == pytest.approx((1 - emulator.q2) * emulator.y.var())


def test_interval_of_a_prediction_holds_what_seeds_do_to_all_points(smooth):
    from niche_sim.study.emulator import train

    results, emulator = smooth
    shift = np.array([-1.0, 0.0, 1.0])[results.runs["replicate"]]
    runs = results.runs.assign(cycling_end=results.runs["cycling_end"] + shift)
    moved = train(StudyResults(results.study, results.design, runs), "cycling_end", "treated")
    place = emulator.middle()[None, :]
    mean, low, high = (float(part[0]) for part in moved.predict(place))
    assert mean == pytest.approx(float(emulator.predict(place)[0][0]), abs=0.1) and moved.q2 > 0.99
    assert high - mean > stats.t.ppf(0.975, 2) * 0.99 / np.sqrt(3) and emulator.shared < 0.1
    one = results.runs[results.runs["replicate"] == 0]
    results.study.replicates = 1
    alone = train(StudyResults(results.study, results.design, one), "cycling_end", "treated")
    results.study.replicates = 3
    assert "All points have one seed" in alone.tell_error() and "one seed" not in moved.tell_error()


def test_emulator_of_chance_says_that_it_knows_nothing(smooth):
    from niche_sim.study.emulator import train

    results, _ = smooth
    noise = results.runs.assign(cycling_end=np.random.default_rng(16).normal(size=len(results.runs)))
    assert train(StudyResults(results.study, results.design, noise), "cycling_end", "treated").q2 < 0.3


def test_place_of_a_prediction_is_read_with_units(smooth):
    from niche_sim.study.emulator import read_place

    results, emulator = smooth
    place = read_place(results, emulator, "dose=2000 ug, dormancy.exit_rate=0.0001 /h")
    assert place[:2] == pytest.approx([2.0, 0.0024]) and place[2] == pytest.approx(emulator.middle()[2])
    written = results.design["dose"][7]  # as the design has it
    assert read_place(results, emulator, f"dose={written}")[0] == results.values("dose")[7]
    for text, message in (
        ("doze=2 mg", "no factor 'doze'; did you mean 'dose'"), ("dose=9 mg", "outside 1"), ("idle=nan", "outside"),
        ("dose=2 h", "dose: '2 h' is a time"), ("idle=much", "idle: expected a number, not 'much'"),
        ("dose", "expected name=value, not 'dose'"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            read_place(results, emulator, text)


def test_emulator_refuses_too_few_points_and_what_does_not_vary(smooth):
    from niche_sim.study.emulator import train

    results, _ = smooth
    few = StudyResults(results.study, results.design[:19], results.runs[results.runs["point"] < 19])
    with pytest.raises(InputError, match="19 points have a value; an emulator of 3 factors needs 20"):
        train(few, "cycling_end", "treated")
    with pytest.raises(InputError, match="is 3 at all points"):
        train(StudyResults(results.study, results.design, results.runs.assign(cycling_end=3.0)), "cycling_end", "treated")
    with pytest.raises(InputError, match="--endpoint: no 'cycling_and'; did you mean 'cycling_end'"):
        train(results, "cycling_and", "treated")


# Figures -----------------------------------------------------------------------------------------------------------------


def read_words(figure):
    from matplotlib.text import Text

    return " ".join(text.get_text() for text in figure.findobj(Text))


@pytest.mark.parametrize(("kind", "points", "names"), [
    ("morris", 8, ["morris"]), ("saltelli", 16, ["sobol", "prcc", "tornado", "heat", "response"]),
    ("grid", 0, ["prcc", "tornado", "heat", "response"]),
])  # fmt: skip
def test_figures_say_what_they_show_and_which_runs_are_behind_them(kind, points, names, tmp_path):
    from niche_sim.view.study import SHEETS, draw_study

    results = make_study(kind, points)
    tables = summarise(results)[0]
    drawn = draw_study(results, tables, tmp_path, endpoints=["cycling_end"], formats=["svg"])
    assert sorted(path.name for path in drawn) == sorted(f"{name}_cycling_end.svg" for name in names)
    for name in names:
        words = read_words(SHEETS[name](results, tables, "cycling_end"))
        counts = count_runs(results.runs)
        assert f"{counts['planned']:,} runs planned, {counts['done']:,} done, 1 failed, 1 missing" in words
        assert "cycling_end (cycling, end; count)" in words and "dormancy.exit_rate" in words
    first = (tmp_path / f"{names[0]}_cycling_end.svg").read_bytes()
    draw_study(results, tables, tmp_path, endpoints=["cycling_end"], formats=["svg"])
    assert (tmp_path / f"{names[0]}_cycling_end.svg").read_bytes() == first


def test_map_of_a_grid_has_the_means_of_its_cells():
    from niche_sim.view.maps import heat_sheet

    results = make_study("grid", arms=("control",), spoil=False)
    figure = heat_sheet(results, summarise(results)[0], "cycling_end")
    maps = [ax.images[0].get_array() for ax in figure.axes if ax.images]
    assert [cells.shape for cells in maps] == [(4, 5)] * 2  # a panel a value of the third factor
    cell = results.runs.merge(results.design, on="point").query("`dose.value` == 1 and `idle.value` == 1")
    low = cell[cell["dormancy.exit_rate.value"] == 1e-4]["cycling_end"].mean()
    assert maps[1][0, 0] == pytest.approx(low)


@pytest.mark.parametrize("sampled", [True, False])
@pytest.mark.parametrize("widths", [(1.0, 1.0, 0.5), (1.0, 0.0, 1.0), (0.2, 1.0, 1.0)])
def test_interval_of_a_mean_covers_what_seeds_do_to_all_points(sampled, widths):
    draw, inside = np.random.default_rng(17), []
    for _ in range(400):
        points, seeds = draw.normal(0, widths[0], (30, 1)), draw.normal(0, widths[1], (1, 4))
        y = 5.0 + points + seeds + draw.normal(0, widths[2], (30, 4))
        found = average_points(y, np.arange(30), widths[2] ** 2, sampled=sampled, own_seeds=False)
        inside.append(found["low"] < 5.0 + (0.0 if sampled else points.mean()) < found["high"])
    assert 0.92 < np.mean(inside) < 0.985


def test_one_seed_gives_no_interval_and_seeds_of_the_points_do():
    y, points = np.random.default_rng(3).normal(4.0, 1.0, (50, 1)), np.arange(50)
    shared = average_points(y, points, np.nan, sampled=True, own_seeds=False)
    assert shared["mean"] == pytest.approx(y.mean()) and np.isnan([shared["low"], shared["high"]]).all()
    own = average_points(y, points, np.nan, sampled=True, own_seeds=True)
    assert (own["low"], own["high"]) == pytest.approx(stats.t.interval(0.95, 49, y.mean(), stats.sem(y[:, 0])))
    single = average_points(np.array([[1.0, 2.0, 3.0]]), np.arange(1), np.nan, sampled=True, own_seeds=False)
    assert (single["low"], single["high"]) == pytest.approx(stats.t.interval(0.95, 2, 2.0, stats.sem([1, 2, 3])))


def test_what_does_not_reach_an_arm_is_no_factor_of_it_and_equal_runs_are_one_observation():
    results = make_study("grid", spoil=False)
    same = results.runs["arm"] == "control"
    one = results.runs[same & (results.runs["point"] == 0)].set_index("replicate")
    for column in ("key", "cycling_end", "first_h"):  # the control as one run at all points of one seed
        results.runs.loc[same, column] = results.runs.loc[same, "replicate"].map(one[column])
    assert results.distinct("control").sum() == 1 and results.distinct("treated").all()
    assert results.reach("control").tolist() == [False, True, True] and results.reach("treated − control").all()
    tables, _ = summarise(results)
    index = tables["tornado"].query("endpoint == 'cycling_end'").set_index(["response", "factor"])
    assert np.isnan(index.loc[("control", "dose"), "swing"]) and index.loc[("treated", "dose"), "swing"] < -1.0
    row = tables["responses"].set_index(["endpoint", "response"]).loc[("cycling_end", "control")]
    assert row["points"] == 1 and (row["low"], row["high"]) == pytest.approx(
        stats.t.interval(0.95, 2, one["cycling_end"].mean(), stats.sem(one["cycling_end"]))
    )


def test_parts_of_the_variance_that_are_rounding_are_none():
    y = 0.1773 + np.tile([[1e-3, 2e-3, 4e-3]], (20, 1))
    found = split_variance(y)
    assert found["variance_parameters"] == found["variance_rest"] == found["parameter_share"] == found["share_high"] == 0.0
    assert found["variance_seed"] == pytest.approx(np.var([1e-3, 2e-3, 4e-3], ddof=1))


def test_numbers_have_three_digits_and_rarely_an_exponent():
    from niche_sim.view.common import name_number

    shown = {3200.0: "3,200", 999999.0: "1,000,000", 0.000125: "0.000125", -12.34: "-12.3", 0.0: "0", 1e-5: "1e-05"}
    assert name_number(2.5e7) == "2.5e+07" and [name_number(value) for value in shown] == list(shown.values())


def test_captions_and_titles_lie_inside_their_figures():
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from niche_sim.view.maps import surface_sheet
    from niche_sim.view.study import SHEETS

    for kind, points in (("grid", 0), ("morris", 8), ("saltelli", 16)):
        results = make_study(kind, points, arms=("control",))
        results.study.title = "A study whose title is long, for it says which parameters govern the escape of dormant cells"
        results.study.endpoints[0].column = " + ".join(["hazard_wake_factors_per_d"] * 2)
        results.design["idle"] = results.design["idle"].str.replace("1.0", "0.123456789")
        tables = summarise(results)[0]
        figures = [SHEETS[name](results, tables, "cycling_end") for name in tables if name in SHEETS]
        if kind == "grid":
            figures += [SHEETS[name](results, tables, "cycling_end") for name in ("heat", "response")]
            figures += [surface_sheet(results, "cycling_end", "control", ["idle", "dose"])]
        assert figures
        for figure in figures:
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
            for text in (figure._supxlabel, figure._suptitle):
                box = text.get_window_extent(canvas.get_renderer())
                assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 and box.y1 <= figure.bbox.y1
        if kind == "grid":
            assert "0.123 " in read_words(figures[-1]) + " " and "0.1234" not in read_words(figures[-1])


@pytest.mark.parametrize("low", [1e-7, 0.0123, 0.9, 1.0, 3.3, 7.5, 950.0])
@pytest.mark.parametrize("ratio", [1.05, 1.3, 2.0, 4.0, 9.0, 12.0, 50.0, 1e3, 1e6])
def test_logarithmic_axes_have_labels_that_do_not_meet(low, ratio):
    from niche_sim.view.response import LABEL_SHARE, pick_log_ticks

    ticks = pick_log_ticks(low, low * ratio)
    assert 2 <= len(ticks) <= 5 and min(ticks) >= low * (1 - 1e-8) and max(ticks) <= low * ratio * (1 + 1e-8)
    assert (np.diff(np.log(ticks)) >= 0.99 * LABEL_SHARE * np.log(ratio)).all()
    assert all(len(f"{tick:g}") <= 8 and float(f"{tick:g}") == tick for tick in ticks)


def test_bands_need_four_points_and_axes_keep_to_the_points():
    from niche_sim.study.estimates import average_replicates
    from niche_sim.view.response import response_sheet

    few = make_study(points=20, replicates=1, spoil=False)
    figure = response_sheet(few, summarise(few)[0], "cycling_end")
    dots = np.concatenate([average_replicates(few.response("cycling_end", arm)) for arm in few.arms])
    for ax in figure.axes:
        assert all(not len(path.vertices) for band in ax.collections for path in band.get_paths())
        low, high = ax.get_ylim()
        assert low < dots.min() and dots.max() < high and high - low < 1.2 * np.ptp(dots)
    many = make_study(points=40, spoil=False)
    panels = response_sheet(many, summarise(many)[0], "cycling_end").axes
    drawn = next(ax for ax in panels if ax.get_xlabel().startswith("dormancy.exit_rate")).collections
    assert len(drawn) == 2 and all(len(band.get_paths()[0].vertices) for band in drawn)


def test_equal_values_have_no_spread_at_all():
    found = estimate_rows(np.array([[0.1773, 0.1773, 0.1773], [np.nan, 1.0, 3.0], [np.nan] * 3]))
    assert found["sd"].tolist()[0] == 0.0 and found["low"][0] == found["high"][0] == found["mean"][0]
    assert found["sd"][1] == pytest.approx(np.sqrt(2.0)) and found["values"].tolist() == [3, 2, 0]
    assert np.isnan(found["mean"][2]) and np.isnan(found["sd"][2])


def test_surface_has_the_ratios_of_its_cells_along_the_values_of_each_panel():
    from niche_sim.view.maps import read_axes, surface_sheet

    results = make_study("grid", spoil=False)
    dose, rate = results.values("dose"), results.values("dormancy.exit_rate")
    kept = (dose > dose.min()) | (rate > rate.min())  # the panel of the lowest rate has no point of the lowest dose
    points = results.design[kept]["point"]
    results = StudyResults(results.study, results.design[kept], results.runs[results.runs["point"].isin(points)])
    figure = surface_sheet(results, "cycling_end", "treated", read_axes(results, "idle,dose, dormancy.exit_rate"))
    panels = [ax for ax in figure.axes if ax.images]
    doses, rates, idles = (len(results.design[name].unique()) for name in ("dose", "dormancy.exit_rate", "idle"))
    assert [ax.images[0].get_array().shape for ax in panels] == [(doses - 1, idles)] + [(doses, idles)] * (rates - 1)
    cells = results.runs.merge(results.design, on="point")
    held = cells[np.isclose(cells["dormancy.exit_rate.value"], np.sort(rate)[-1]) & (cells["dose.value"] == dose.min())]
    held = held[held["idle.value"] == held["idle.value"].min()]
    mean = held.groupby("arm")["cycling_end"].mean()
    assert panels[-1].images[0].get_array()[0, 0] == pytest.approx(mean["treated"] / mean["control"])
    assert "treated / control" in read_words(figure)
    for text, said in {"dose": "two to four", "dose,dose": "different", "dose,dse": "no factor 'dse'"}.items():
        with pytest.raises(InputError, match=said):
            read_axes(results, text)


@pytest.mark.parametrize(("low", "high"), [("false", "true"), ("iv", "oral")])
def test_two_words_are_named_at_both_ends(low, high):
    from niche_sim.view.sensitivity import morris_sheet, prcc_sheet, tornado_sheet

    results = put_words(make_study(points=40, spoil=False), [low, high])
    tables, notes = summarise(results)
    ends = tables["tornado"].set_index("factor")[["end_low", "end_high"]]
    assert not notes and (ends.loc["idle"] == [low, high]).all(axis=None)
    of_dose = tables["tornado"].set_index(["response", "factor"])["end_low"].xs("dose", level="factor")
    assert of_dose["treated"].str.fullmatch(r"[0-9.]+ mg").all() and (of_dose["control"] == "").all()
    assert "dose\n1." in read_words(tornado_sheet(results, tables, "cycling_end"))
    for sheet in (tornado_sheet, prcc_sheet):
        words = read_words(sheet(results, tables, "cycling_end"))
        assert f"idle\n{low} to {high}" in words and "0 to 1" not in words
    results = put_words(make_study("morris", 8, spoil=False), [low, high])
    assert f"idle, {low} to {high}" in read_words(morris_sheet(results, summarise(results)[0], "cycling_end"))


def test_places_between_words_are_told_with_both():
    from niche_sim.cli.study_summary import tell_place

    words = {1.0: "true", 0.0: "false"}
    assert [tell_place(words, value) for value in (1.0, 0.0, 0.5)] == ["true", "false", "0.5 (0: false, 1: true)"]
    assert tell_place({}, 0.25) == "0.25"


def put_words(results, words):
    """Give the factor `idle` words in place of numbers, in turn; of a Morris design the lower half is the first."""
    values = results.values("idle")
    if results.study.design.kind == "morris":
        which = (values > values.mean()).astype(int)
    else:
        which = (results.design["point"] % len(words)).to_numpy()
    results.design["idle"], results.design["idle.value"] = np.array(words)[which], which.astype(float)
    return results


def test_words_have_no_order_and_keep_their_names():
    from niche_sim.study.emulator import train
    from niche_sim.view.maps import heat_sheet
    from niche_sim.view.response import response_sheet

    results = put_words(make_study(points=30, spoil=False), ["iv", "oral", "sc"])
    tables, notes = summarise(results)
    found = tables["prcc"].set_index(["endpoint", "response", "factor"])["prcc"]
    assert np.isnan(found["cycling_end", "control", "idle"]) and found["cycling_end", "control", "dormancy.exit_rate"] > 0.9
    assert notes == ["idle: words have no order, so that rank correlations and tornado leave them out."]
    with pytest.raises(InputError, match="idle: words have no order"):
        train(results, "cycling_end", "control")
    assert "oral" in read_words(response_sheet(results, tables, "cycling_end"))
    results.study.design.kind = "grid"
    assert "oral" in read_words(heat_sheet(results, tables, "cycling_end"))
