"""The histomorphometry table: its estimates on known data, its literature, local thickness, and the command."""

import json
import math
import re

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import niche_sim as ns
from niche_sim.cli import cli
from niche_sim.errors import InputError
from niche_sim.histomorphometry import (
    COLUMNS,
    Estimate,
    average_rows,
    estimate_activation,
    estimate_bmus,
    estimate_drift,
    estimate_series,
    histomorphometry,
    list_quantities,
    measure_local_thickness,
    read_references,
    tabulate,
    write_table,
)
from niche_sim.resources import configs_dir
from niche_sim.simulation import run_experiment
from niche_sim.store import load, write_result

YEAR_H = 8766.0


def test_blocks_are_equally_long():
    series = pd.DataFrame({"time_h": np.arange(25.0)})
    mean, blocks = average_rows(series)
    assert mean["time_h"] == 12.0
    assert len(blocks) == 10
    assert blocks["time_h"].is_monotonic_increasing
    estimate = estimate_series(pd.DataFrame({"x": np.repeat(np.arange(10.0), 3)}), lambda row: 2 * row["x"])
    assert estimate.mean == 9.0
    assert estimate.error == pytest.approx(2 * np.arange(10.0).std(ddof=1) / math.sqrt(10))


def test_bmus_count_by_their_footprint():
    estimate = estimate_bmus(pd.Series([40.0, 80.0, np.nan]), pd.Series([3.0, 1.0, 5.0]))
    assert (estimate.mean, estimate.n) == (50.0, 2)
    assert estimate.error == pytest.approx(math.sqrt(2 * (30.0**2 + 30.0**2)) / 4)
    plain = np.array([1.0, 2.0, 6.0])
    assert estimate_bmus(pd.Series(plain)).error == pytest.approx(plain.std(ddof=1) / math.sqrt(3))
    assert estimate_bmus(pd.Series([], dtype=float)).n == 0
    assert math.isnan(estimate_bmus(pd.Series([5.0])).error)


def test_drift_of_a_straight_line_and_of_noise():
    years = np.linspace(0.0, 10.0, 1000)
    line = pd.DataFrame({"time_h": years * YEAR_H, "x": 100.0 - 0.5 * years})
    assert estimate_drift(line, "x").mean == pytest.approx(-0.5 / 97.5 * 100, rel=1e-9)
    noise = np.random.default_rng(5).normal(size=(200, 1000))
    found = [estimate_drift(line.assign(x=100.0 + row), "x") for row in noise]
    z = np.array([estimate.mean / estimate.error for estimate in found])
    assert abs(z.mean()) < 0.3
    assert 0.85 < z.std() < 1.45  # a t distribution on 8 degrees of freedom has 1.15


def test_activation_frequency_is_as_uncertain_as_its_births():
    series = pd.DataFrame({"activation_frequency_per_yr": [0.1, 0.3]})
    assert estimate_activation(series, 25) == Estimate(0.2, 0.04, 25)
    assert math.isnan(estimate_activation(series, 0).error)


@pytest.mark.parametrize("voxels", [3, 4, 5, 8])
@pytest.mark.parametrize("periodic", [True, False])
def test_local_thickness_of_a_plate(voxels, periodic):
    flat = np.zeros((1, 30, 40), bool)
    flat[0, :, 10 : 10 + voxels] = True
    assert measure_local_thickness(flat, 20.0, periodic) == 20.0 * voxels
    solid = np.zeros((16, 16, 16), bool)
    solid[:, 2 : 2 + voxels] = True
    assert measure_local_thickness(solid, 10.0, periodic) == 10.0 * voxels


def test_local_thickness_through_the_periodic_boundary_of_a_disc_and_of_nothing():
    split = np.zeros((1, 20, 20), bool)
    split[0, :2] = split[0, -3:] = True
    assert measure_local_thickness(split, 1.0, True) == 5.0
    y, x = np.mgrid[:81, :81]
    disc = (np.hypot(y - 40, x - 40) < 20.2)[None]
    assert measure_local_thickness(disc, 1.0, True) == pytest.approx(40.4, rel=0.06)
    assert math.isnan(measure_local_thickness(np.zeros((1, 5, 5), bool), 1.0, True))
    assert math.isnan(measure_local_thickness(np.ones((1, 5, 5), bool), 1.0, True))


def test_literature_has_known_symbols_units_and_sources():
    known = {symbol for symbol, _, _ in list_quantities()}
    keys = set(re.findall(r"^@\w+\{([^,]+),", (configs_dir() / "references.bib").read_text(), re.M)) | {"none"}
    for oestrogen in ("pre", "peri", "post"):
        references = read_references(oestrogen)
        assert set(references) <= known
        assert {"BV/TV", "Tb.Th", "Tb.Sp", "ES/BS", "Oc.S/BS", "MAR", "Ac.f", "W.Th"} <= set(references)
        assert {key.strip() for r in references.values() for key in r.source.split(",")} <= keys
    assert (read_references("pre")["Ac.f"].low, read_references("post")["Ac.f"].words) == (0.13, "0.39")
    assert (read_references("pre")["W.Th"].low, read_references("pre")["W.Th"].high) == pytest.approx((53.5, 65.3))
    assert read_references("pre")["ES/BS"].words == "2 to 6"


def test_agreement_is_within_two_errors():
    found = {"Ac.f": Estimate(0.16, 0.016, 100), "ES/BS": Estimate(1.0, 0.1, 10), "FP": Estimate(100.0, math.nan, 1)}
    table = tabulate(found, "pre").set_index("symbol")
    assert table["agrees"].to_dict() == {"ES/BS": "no", "Ac.f": "yes", "FP": "yes"}
    assert table.at["FP", "literature"] == "90 to 150"
    assert write_table(table.reset_index())[0].split()[0] == "symbol"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    target = tmp_path_factory.mktemp("histomorphometry") / "bone"
    sets = {
        "scene": "trabecula_small", "patient": "premenopausal", "patient.activation_frequency.value": "0.5 /yr",
        "population.dormant_dtc": "0", "time.length": "200 d",
        "time.spin_up": "200 d", "record.series": "5 d", "record.pictures": '["0 d", "200 d"]',
    }  # fmt: skip
    experiment = ns.load_experiment("e00_zoledronate_niche", sets=sets)
    write_result(target, run_experiment(experiment, threads=2), experiment)
    return target


def test_the_table_of_a_result(written):
    result = load(written)
    table = histomorphometry(result).set_index("symbol")
    assert tuple(table.columns) == COLUMNS[1:]
    series = result.series[(result.series["arm"] == "control") & (result.series["time_h"] > 0)]
    assert table.at["BV/TV", "mean"] == pytest.approx(100 * series["bone_volume_fraction"].mean())
    assert table.at["Tb.Th (sphere)", "n"] == 2
    late = histomorphometry(result, "zoledronate", 2400.0, pictures=False).set_index("symbol")
    bmus = result.bmus.query("arm == 'zoledronate' and time_h > 2400 and outcome == 'completed'")
    assert late.at["W.Th", "n"] == len(bmus)
    assert "Tb.Th (sphere)" not in late.index


@pytest.mark.parametrize(
    ("choice", "said"), [({"arm": "placebo"}, "control, zoledronate"), ({"start_h": 4795.0}, "at least two")]
)
def test_what_cannot_be_tabulated_is_said(written, choice, said):
    with pytest.raises(InputError, match=said):
        histomorphometry(load(written), **choice)


def test_the_command_prints_lines_and_json(written):
    done = CliRunner().invoke(cli, ["histomorphometry", str(written), "--from", "100 d", "--to", "200 d"])
    assert done.exit_code == 0
    assert done.output.startswith("control:") and "zoledronate:" in done.output
    for symbol in ("BV/TV", "Tb.Th", "Tb.Sp", "ES/BS", "Oc.S/BS", "MAR", "Ac.f", "W.Th"):
        assert re.search(rf"^{re.escape(symbol)} ", done.output, re.M), symbol
    words = ["histomorphometry", str(written), "--arm", "control", "--json"]
    lines = json.loads(CliRunner().invoke(cli, words).output)["control"]
    assert [line["symbol"] for line in lines][:3] == ["BV/TV", "BS/TV", "Tb.Th"]
    assert set(lines[0]) == set(COLUMNS)


def test_a_window_that_is_no_time_is_named(written):
    done = CliRunner().invoke(cli, ["histomorphometry", str(written), "--from", "1 kg"])
    assert isinstance(done.exception, InputError)
    assert "--from" in str(done.exception)
