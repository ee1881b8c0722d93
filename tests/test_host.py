"""The host: closed forms of the compartments, ledgers, forcing on any tick, and the shipped drug files."""

import re
import time

import numba
import numpy as np
import pytest
from ruamel.yaml import YAML

import niche_sim as ns
from niche_sim.drugs import (
    BISPHOSPHONATES,
    CLASSES,
    DRUG_LAYOUT,
    DRUG_TEXT,
    Drug,
    Leaf,
    Peripheral,
    build_effects,
    drug_from_mapping,
    read_bone_laws,
    read_cell_laws,
)
from niche_sim.errors import InputError
from niche_sim.host import Body, Endocrine, Patient, build_circulation, build_forcing, lack_of_oestradiol, read_body
from niche_sim.pharmacokinetics import pharmacokinetics
from niche_sim.regimens import Course, list_doses
from niche_sim.resources import configs_dir

NAMES = ("zoledronate", "pamidronate", "clodronate", "ibandronate", "denosumab", "anthracycline_taxane",
         "alendronate", "risedronate")
FACTOR = {
    "g/mol": ("g/mol", 1.0), "h": ("h", 1.0), "min": ("h", 1 / 60), "d": ("h", 24.0), "/h": ("1/h", 1.0),
    "/d": ("1/h", 1 / 24), "L": ("L", 1.0), "L/h": ("L/h", 1.0), "m2": ("um^2", 1e12), "um": ("um", 1.0),
    "L/mol": ("L/nmol", 1e-9),
    "fmol/um2": ("fmol/um^2", 1.0), "nmol/L": ("nmol/L", 1.0), "umol/L": ("nmol/L", 1e3), "mg": ("mg", 1.0),
}
BOLUS = Drug("plain", "bisphosphonate", molar_mass=250.0, central_volume=10.0, clearance_excretion=2.0,
             clearance_skeleton=3.0, absorbed_fraction=0.02, absorption_rate=1.5)
TISSUES = (Peripheral(20.0, 6.0), Peripheral(90.0, 0.7))
THREE = Drug("plain", "bisphosphonate", molar_mass=250.0, central_volume=10.0, clearance_excretion=2.0,
             clearance_skeleton=3.0, absorbed_fraction=0.02, absorption_rate=1.5, peripheral=TISSUES)
HUMAN = ns.load_parameters("human")
LAWS, CELLS, BODY = read_bone_laws(HUMAN), read_cell_laws(HUMAN), read_body(HUMAN)
PATIENT = Patient(activation=(0.39 / 8766.0,))
RETAINED = {"zoledronate": 0.61, "pamidronate": 0.60, "clodronate": 0.20, "ibandronate": 0.476, "alendronate": 0.53,
            "risedronate": 0.35}


def convert(text, unit):
    """One value of a drug file in the inside unit that the layout demands."""
    if unit == "":
        assert isinstance(text, (int, float)), text
        return float(text)
    number, written = re.fullmatch(r"([-+.\deE]+)\s*(\S+)", text).groups()
    inside, factor = FACTOR[written]
    assert inside == unit, (text, unit)
    return float(number) * factor


def inside(node, layout):
    """The nested numbers of a drug file in inside units."""
    if isinstance(layout, Leaf):
        return convert(node["value"], layout.unit)
    if isinstance(layout, list):
        return [inside(item, layout[0]) for item in node]
    return {key: inside(item, layout[key]) for key, item in node.items()}


def read(name):
    return YAML(typ="safe").load((configs_dir() / "drugs" / f"{name}.yaml").read_text())


def ship(name):
    plain = read(name)
    text = {key: plain.pop(key) for key in DRUG_TEXT if key in plain}
    return drug_from_mapping(text | inside(plain, DRUG_LAYOUT))


def leaves(node, layout, path=""):
    if isinstance(layout, Leaf):
        yield path, node, layout
    elif isinstance(layout, list):
        for i, item in enumerate(node):
            yield from leaves(item, layout[0], f"{path}[{i}]")
    else:
        for key, item in node.items():
            yield from leaves(item, layout[key], f"{path}.{key}")


@pytest.fixture(scope="module")
def drugs():
    return {name: ship(name) for name in NAMES}


def total(amounts):
    return (amounts["absorbing"] + amounts["plasma"] + amounts["peripheral"].sum(axis=1) + amounts["skeleton"]
            + amounts["excreted"] + amounts["unabsorbed"])


# ------------------------------------------------------------------ closed forms


def test_bolus_decays_as_one_compartment():
    times = np.array([0.0, 0.3, 2.0, 11.0])
    got = pharmacokinetics(BOLUS, [Course("plain", 5.0)], times)
    want = 20000.0 / 10.0 * np.exp(-0.5 * times)
    np.testing.assert_allclose(got["concentration"], want, rtol=1e-9)
    np.testing.assert_allclose(got["skeleton"], 0.6 * 20000.0 * (1 - np.exp(-0.5 * times)), rtol=1e-8)


def test_infusion_rises_and_falls_as_one_compartment():
    times = np.array([0.5, 2.0, 3.0, 9.0])
    got = pharmacokinetics(BOLUS, [Course("plain", 5.0, infusion_h=2.0)], times)
    rate = 20000.0 / 2.0 / 5.0
    rising = rate * (1 - np.exp(-0.5 * np.minimum(times, 2.0)))
    want = rising * np.exp(-0.5 * np.maximum(times - 2, 0))
    np.testing.assert_allclose(got["concentration"], want, rtol=1e-6)


def test_oral_dose_follows_bateman():
    times = np.array([0.1, 0.5, 3.0, 20.0])
    got = pharmacokinetics(BOLUS, [Course("plain", 5.0, route="oral")], times)
    amount = 0.02 * 20000.0
    want = amount / 10.0 * 1.5 / (1.5 - 0.5) * (np.exp(-0.5 * times) - np.exp(-1.5 * times))
    np.testing.assert_allclose(got["concentration"], want, rtol=1e-6)
    np.testing.assert_allclose(got["unabsorbed"], 0.98 * 20000.0)


@pytest.mark.parametrize("route, absorbed", [("iv", 1.0), ("oral", 0.02)])
def test_exposure_is_dose_over_clearance_with_any_tissues(route, absorbed):
    got = pharmacokinetics(THREE, [Course("plain", 5.0, route=route, infusion_h=0.25)], [1e5])
    np.testing.assert_allclose(got["exposure"], absorbed * 20000.0 / 5.0, rtol=1e-6)
    np.testing.assert_allclose(got["skeleton"], 0.6 * absorbed * 20000.0, rtol=1e-6)


def test_infusion_of_tissues_is_the_mean_of_shifted_boluses():
    nodes, weights = np.polynomial.legendre.leggauss(20)
    shifted = [Course("plain", 5.0, start_h=(u + 1) / 2) for u in nodes]
    bolus = [pharmacokinetics(THREE, [course], [4.0])["plasma"][0] for course in shifted]
    got = pharmacokinetics(THREE, [Course("plain", 5.0, infusion_h=1.0)], [4.0])["plasma"][0]
    assert got == pytest.approx(np.dot(bolus, weights) / 2, rel=1e-9)


def test_courses_superpose_and_shift():
    first = Course("plain", 5.0, interval_h=7.3, start_h=1.1, until_h=60.0, infusion_h=0.4)
    second = Course("plain", 3.0, interval_h=5.0, start_h=0.0, route="oral")
    times = np.linspace(0.0, 80.0, 37)
    both, one, two = (pharmacokinetics(THREE, c, times) for c in ([first, second], [first], [second]))
    np.testing.assert_allclose(both["plasma"], one["plasma"] + two["plasma"], rtol=1e-7, atol=1e-7)
    late = Course("plain", 5.0, start_h=3.217)
    shifted = pharmacokinetics(THREE, [late], times + 3.217)
    want = pharmacokinetics(THREE, [Course("plain", 5.0)], times)
    np.testing.assert_allclose(shifted["plasma"], want["plasma"], rtol=1e-7, atol=1e-9)


def test_overlapping_infusions_add():
    course = Course("plain", 5.0, interval_h=1.0, until_h=2000.0, infusion_h=3.0)
    got = pharmacokinetics(BOLUS, [course], [1500.5])
    assert got["concentration"][0] == pytest.approx(20000.0 / 5.0, rel=1e-6)  # dose a time over clearance


@pytest.mark.parametrize("name", [*NAMES[:5], *NAMES[6:]])
def test_ledger_closes_for_shipped_drugs(drugs, name):
    repeated = Course(name, 50.0, interval_h=24.7, start_h=0.3, until_h=4000.0)
    courses = [repeated, Course(name, 8.0, start_h=17.77)]
    got = pharmacokinetics(drugs[name], courses, np.linspace(0.0, 6000.0, 101))
    np.testing.assert_allclose(total(got), got["dosed"], rtol=1e-9)
    given = 162 * 50.0 + 8.0
    assert got["dosed"][-1] == pytest.approx(1e6 * given / drugs[name].molar_mass, rel=1e-7)
    assert all(np.all(got[key] >= 0) for key in got)


# ------------------------------------------------------------------ forcing


@pytest.mark.parametrize("tick_h", [1.0, 6.0, 24.0])
def test_forcing_of_off_grid_doses_is_exact_on_any_tick(drugs, tick_h):
    course = Course("zoledronate", 4.0, interval_h=100.37, start_h=5.83, until_h=900.0)
    n = int(960 / tick_h)
    forcing = build_forcing([course], {"zoledronate": drugs["zoledronate"]}, PATIENT, n, tick_h)
    edges = pharmacokinetics(drugs["zoledronate"], [course], tick_h * np.arange(n + 1))
    into_bone, area = forcing.uptake[:, 0] * 8.5e12 / 1e6, forcing.plasma[:, 0] * tick_h
    np.testing.assert_allclose(into_bone, np.diff(edges["skeleton"]), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(area, 0.6 * np.diff(edges["exposure"]), rtol=1e-6, atol=1e-6)


def test_gamma_delta_and_block_hardly_depend_on_the_tick(drugs):
    courses = [Course("zoledronate", 4.0, start_h=7.3), Course("denosumab", 60.0, start_h=3.1)]
    pair = {name: drugs[name] for name in ("zoledronate", "denosumab")}
    fine, coarse = (build_forcing(courses, pair, PATIENT, int(720 / h), h, body=BODY) for h in (0.25, 12.0))
    for name in ("gamma_delta", "rankl_block"):
        mean = getattr(fine, name).reshape(-1, 48).mean(axis=1)
        np.testing.assert_allclose(getattr(coarse, name), mean, atol=2e-3)
        assert 0.2 < mean.max() < 1.0
    assert coarse.gamma_delta[0] < coarse.gamma_delta.max() and coarse.gamma_delta[-1] < 0.05


def test_block_is_the_mean_of_the_bound_share(drugs):
    drug = drugs["denosumab"]
    forcing = build_forcing([Course("denosumab", 60.0)], {"denosumab": drug}, PATIENT, 30, 24.0)
    times = (np.arange(30 * 400) + 0.5) * 24.0 / 400
    free = pharmacokinetics(drug, [Course("denosumab", 60.0)], times)["free"]
    want = (free / (free + drug.rankl_half_concentration)).reshape(30, 400).mean(axis=1)
    np.testing.assert_allclose(forcing.rankl_block, want, rtol=1e-4)


def test_denosumab_block_is_deep_and_lost_after_stopping(drugs):
    course = Course("denosumab", 60.0, interval_h=4383.0, until_h=8766.0)
    block = build_forcing([course], {"denosumab": drugs["denosumab"]}, PATIENT, 365 * 2, 24.0).rankl_block
    assert block[10:60].min() > 0.8 and block[365 + 330] < 0.05


def test_turnover_rebounds_when_a_long_block_lifts(drugs):
    course = Course("denosumab", 60.0, interval_h=4383.0, until_h=2 * 8766.0)
    forcing = build_forcing([course], {"denosumab": drugs["denosumab"]}, PATIENT, 365 * 5, 24.0)
    relative = forcing.activation / PATIENT.activation[0]
    drug = drugs["denosumab"]
    held, before = 0.0, []
    for bound in forcing.rankl_block:  # the same by small explicit steps
        before.append(held)
        for _ in range(50):
            held += 24.0 / 50 / drug.rankl_rebound_memory * (bound - held)
    want = 1.0 + drug.rankl_rebound_gain * np.array(before) * (1.0 - forcing.rankl_block)
    np.testing.assert_allclose(relative, want, atol=0.02)
    assert relative.max() > 1.5 and relative.argmax() > 700 and relative[-1] < 1.1
    short = build_forcing([Course("denosumab", 60.0)], {"denosumab": drug}, PATIENT, 365 * 2, 24.0)
    assert 1.0 < short.activation.max() / PATIENT.activation[0] < relative.max()


def test_chemotherapy_kills_its_decades_in_its_window(drugs):
    chemo = {"anthracycline_taxane": drugs["anthracycline_taxane"]}
    course = Course("anthracycline_taxane", 100.0, interval_h=504.0, start_h=10.0, until_h=504.0 * 6)
    forcing = build_forcing([course], chemo, PATIENT, 1000, 6.0)
    assert 6.0 * forcing.chemotherapy.sum() / np.log(10.0) == pytest.approx(6 * 2.0)
    window = 6.0 * np.arange(1000)
    assert np.all(forcing.chemotherapy[(window > 10 + 72) & (window < 504)] == 0)
    half = build_forcing([Course("anthracycline_taxane", 50.0)], chemo, PATIENT, 100, 6.0)
    assert 6.0 * half.chemotherapy.sum() / np.log(10.0) == pytest.approx(1.0)
    assert forcing.activation[5] == pytest.approx(1.5 * PATIENT.activation[0], rel=0.01)
    assert forcing.activation[0] == PATIENT.activation[0] and not forcing.plasma.any()


def test_forcing_has_one_type_for_the_compiler_however_long_it_is(drugs):
    kinds = {str(numba.typeof(build_forcing([], drugs, PATIENT, rows, 6.0))) for rows in (1, 2, 40)}
    assert len(kinds) == 1


def test_forcing_without_drugs_is_one_empty_column():
    patient = Patient((1e-5, 3e-5), (1.0, 0.97), (1.0,), None, (0.0, 100.0))
    forcing = build_forcing([], {}, patient, 20, 10.0)
    assert forcing.uptake.shape == forcing.plasma.shape == (20, 1)
    assert not any(getattr(forcing, name).any() for name in forcing._fields[:5])
    assert forcing.activation[0] == pytest.approx(1.1e-5) and forcing.activation[-1] == 3e-5
    assert forcing.bone_balance[-1] == 0.97 and np.all(forcing.rankl_factor == 1.0) and np.all(forcing.opg_factor == 1.0)
    assert not forcing.circulation.any()
    effects = build_effects({}, LAWS, CELLS)
    assert all(getattr(effects, name).shape == (1,) for name in effects._fields)
    assert effects.osteoclast_kmax[0] == 0 and np.isinf(effects.tumour_half_load[0])


def test_lack_of_oestradiol_runs_from_none_to_all():
    endocrine = Endocrine(replete=0.4, half=0.05)
    lack = lack_of_oestradiol(np.array([1.0, 0.4, 0.05, 0.0]), endocrine)
    np.testing.assert_allclose(lack, [0.0, 0.0, 1.0 - 0.5 * 0.45 / 0.4, 1.0])


def test_lack_acts_through_rankl_opg_and_balance():
    body = Body(Endocrine(0.4, 0.05, rankl_gain=2.0, opg_loss=0.5, balance_loss=0.1))
    patient = Patient((1e-5,), (1.0,), (1.5,), (0.4, 0.0), (0.0, 100.0))
    forcing = build_forcing([], {}, patient, 12, 10.0, body=body)
    assert np.all(forcing.activation == 1e-5)  # what lack does to births goes by RANKL and OPG
    assert forcing.rankl_factor[-1] == pytest.approx(4.5) and forcing.opg_factor[-1] == pytest.approx(0.5)
    assert forcing.bone_balance[-1] == pytest.approx(0.9)
    assert forcing.rankl_factor[0] < 1.6 and forcing.bone_balance[0] > 0.99


def test_an_ovarian_suppressant_lowers_oestradiol_while_it_lasts():
    drug = Drug("goserelin", "ovarian_suppressant", "sc", ovary_suppression=0.95, ovary_duration=672.0, ovary_onset=168.0,
                ovary_recovery=1000.0)
    body = Body(Endocrine(0.4, 0.05, rankl_gain=2.0))
    course = Course("goserelin", 3.6, 672.0, 0.0, 672.0 * 6, "sc")
    forcing = build_forcing([course], {"goserelin": drug}, PATIENT, 400, 24.0, body=body)
    left = 0.4 * (1.0 - 0.95 * -np.expm1(-168 / 168.0))
    want = 1.0 + 2.0 * lack_of_oestradiol(np.array([left]), body.endocrine)[0]
    assert forcing.rankl_factor[6] == pytest.approx(want, rel=1e-6)
    assert forcing.rankl_factor[160] == pytest.approx(
        1.0 + 2.0 * lack_of_oestradiol(np.array([0.4 * 0.05]), body.endocrine)[0], rel=1e-3)
    assert forcing.rankl_factor[-1] < 1.1 and not forcing.plasma.any()
    after = Patient((1e-5,), oestradiol=(0.02,))  # without ovarian oestradiol there is none to suppress
    body = Body(body.endocrine._replace(extragonadal=0.02))
    both = [build_forcing(c, {"goserelin": drug}, after, 10, 24.0, body=body).rankl_factor for c in ([course], [])]
    np.testing.assert_array_equal(*both)


@pytest.mark.parametrize("name", RETAINED)
def test_drug_back_from_bone_is_shared_as_a_bolus_is(drugs, name):
    table = build_circulation({name: drugs[name]}, 6.0)[0]
    np.testing.assert_allclose(table.sum(axis=0)[: 1 + len(drugs[name].peripheral)], 1.0, rtol=1e-12)
    body, bone = np.array([1.0, 0.0, 0.0, 0.0]), 0.0
    for _ in range(4000):
        bone += table[-2] @ body
        body = table[:-2] @ body
    assert bone == pytest.approx(RETAINED[name], abs=0.005) and body.sum() < 1e-6


def test_doses_before_the_first_tick_carry_over(drugs):
    pair = {"zoledronate": drugs["zoledronate"]}
    course = [Course("zoledronate", 4.0, start_h=-20.0)]
    whole = build_forcing(course, pair, PATIENT, 10, 6.0, start_h=-30.0)
    later = build_forcing(course, pair, PATIENT, 5, 6.0, start_h=0.0)
    np.testing.assert_allclose(later.uptake, whole.uptake[5:], rtol=1e-9)
    assert later.uptake[0, 0] > 0


def test_ten_years_of_daily_doses_are_fast(drugs):
    course = Course("clodronate", 1600.0, interval_h=24.0)
    begin = time.thread_time()
    forcing = build_forcing([course], {"clodronate": drugs["clodronate"]}, PATIENT, 14610, 6.0)
    assert time.thread_time() - begin < 1.0
    daily = Course("ibandronate", 50.0, interval_h=24.0, route="oral")
    begin = time.thread_time()
    build_forcing([daily], {"ibandronate": drugs["ibandronate"]}, PATIENT, 14610, 6.0)
    assert time.thread_time() - begin < 2.0
    assert forcing.uptake.shape == (14610, 1) and all(a.flags.c_contiguous for a in forcing[:-1])
    umol_per_d = forcing.uptake[-4000:].sum() / 1000 * 8.5e12 / 1e9
    assert umol_per_d == pytest.approx(21.0, rel=0.02)


# ------------------------------------------------------------------ the shipped drugs


@pytest.mark.parametrize("name, dose, interval_d, umol_per_d", [
    ("clodronate", 1600.0, 1.0, 21.0), ("pamidronate", 90.0, 28.0, 7.5), ("zoledronate", 4.0, 28.0, 0.32),
    ("zoledronate", 4.0, 182.0, 0.05), ("ibandronate", 6.0, 28.0, 0.30),
])
def test_skeletal_loading_matches_the_regimen(drugs, name, dose, interval_d, umol_per_d):
    span = 20 * interval_d * 24.0
    got = pharmacokinetics(drugs[name], [Course(name, dose, interval_d * 24.0, until_h=span)], [span + 5e4])
    assert got["skeleton"][0] / 1e3 / (20 * interval_d) == pytest.approx(umol_per_d, rel=0.10)


def test_oral_ibandronate_loading(drugs):
    got = pharmacokinetics(drugs["ibandronate"], [Course("ibandronate", 50.0, route="oral")], [1e5])
    assert got["skeleton"][0] / 1e3 == pytest.approx(0.44, rel=0.10)


@pytest.mark.parametrize("name", RETAINED)
def test_retained_share(drugs, name):
    got = pharmacokinetics(drugs[name], [Course(name, 10.0, route="iv")], [1e5])
    assert got["skeleton"][0] / got["dosed"][0] == pytest.approx(RETAINED[name], abs=0.005)


def test_zoledronate_plasma(drugs):
    got = pharmacokinetics(drugs["zoledronate"], [Course("zoledronate", 4.0)], [0.25, 6.0, 24.0, 1e5])
    peak, _, day, _ = got["concentration"]
    assert 700 < peak < 1500 and day < 0.01 * peak
    assert 1200 < got["exposure"][1] < 1570
    assert got["skeleton"][3] == pytest.approx(9000.0, rel=0.01)
    assert got["excreted"][2] / got["dosed"][2] == pytest.approx(0.38, abs=0.03)


def test_pamidronate_and_clodronate_plasma(drugs):
    peak = pharmacokinetics(drugs["pamidronate"], [Course("pamidronate", 60.0, infusion_h=1.0)], [1.0, 24.0])
    assert peak["concentration"][0] == pytest.approx(9700.0, rel=0.02)
    assert peak["exposure"][1] == pytest.approx(22000.0, rel=0.15)
    times = np.linspace(0.0, 3.0, 301)
    oral = pharmacokinetics(drugs["clodronate"], [Course("clodronate", 1600.0)], times)["concentration"]
    assert times[oral.argmax()] == pytest.approx(0.5, abs=0.03)


def test_effects_follow_the_order_of_the_drugs(drugs):
    effects = build_effects(drugs, LAWS, CELLS)
    assert all(column.shape == (len(NAMES),) and (column >= 0).all() for column in effects)
    assert effects.osteoclast_kmax[0] == pytest.approx(0.8 / 24) and effects.osteoclast_kmax[4] == 0
    loads = dict(zip(drugs, effects.osteoclast_half_load))
    assert loads["zoledronate"] == CELLS.aminobisphosphonate_half_load
    assert loads["clodronate"] == CELLS.bisphosphonate_half_load
    assert loads["pamidronate"] > loads["alendronate"] > loads["ibandronate"] > loads["risedronate"] > loads["zoledronate"]
    lives = dict(zip(drugs, np.log(2) / effects.desorption))
    assert lives["zoledronate"] == pytest.approx(LAWS.desorption_half_life) and lives["clodronate"] < lives["risedronate"]
    assert lives["clodronate"] == pytest.approx(LAWS.desorption_half_life * (0.72 / 3.47) ** LAWS.affinity_exponent)
    for column in ("osteoclast_kmax", "macrophage_kmax", "tumour_kmax", "tumour_cytostasis"):
        acts = [drug.drug_class in BISPHOSPHONATES for drug in drugs.values()]
        assert np.array_equal(getattr(effects, column), np.where(acts, getattr(CELLS, column), 0.0))
    assert effects.adhesion_loss[2] == 0 and np.all(effects.full_coat == LAWS.full_coat)


def test_only_nitrogen_drugs_wake_gamma_delta_cells(drugs):
    for name in RETAINED:
        forcing = build_forcing([Course(name, 90.0, route="iv")], {name: drugs[name]}, PATIENT, 8, 6.0, body=BODY)
        assert (forcing.gamma_delta.max() > 0) == (drugs[name].drug_class == "aminobisphosphonate")


@pytest.mark.parametrize("name", NAMES)
def test_every_number_is_sourced(name):
    keys = set(re.findall(r"@\w+\{([^,]+),", (configs_dir() / "references.bib").read_text()))
    plain = {key: item for key, item in read(name).items() if key not in DRUG_TEXT}
    for path, node, leaf in leaves(plain, DRUG_LAYOUT):
        assert set(node) == {"value", "range", "status", "source", "note"}, path
        assert node["status"] in ("measured", "derived", "model", "assumed", "calibrated"), path
        assert node["source"] in keys or (node["source"] == "none" and node["status"] == "assumed"), path
        low, high = (convert(end, leaf.unit) for end in node["range"])
        value = convert(node["value"], leaf.unit)
        assert low <= value <= high and len(node["note"]) > 1, path


def test_references_have_unique_keys_and_closed_entries():
    text = (configs_dir() / "references.bib").read_text()
    keys = re.findall(r"@\w+\{([^,]+),", text)
    assert len(keys) == len(set(keys)) >= 60
    assert text.count("{") == text.count("}")


def test_layout_names_fields_of_drug():
    names = set(Drug.__dataclass_fields__)

    def walk(layout):
        for entry in layout.values():
            if isinstance(entry, Leaf):
                assert entry.field in names and set(entry.required_for) <= set(CLASSES)
            elif isinstance(entry, dict):
                walk(entry)

    walk(DRUG_LAYOUT)


# ------------------------------------------------------------------ refusals


def test_dose_list_excludes_until_and_sorts(drugs):
    courses = [Course("zoledronate", 4.0, 672.0, 0.0, 672.0 * 3), Course("clodronate", 1600.0, start_h=1.0)]
    doses = list_doses(courses, drugs, 1e6)
    assert [d.time_h for d in doses] == [0.0, 1.0, 672.0, 1344.0]
    assert doses[1].route == "oral" and doses[1].infusion_h == 0 and doses[0].infusion_h == 0.25


@pytest.mark.parametrize("course", [
    Course("placebo", 1.0), Course("zoledronate", -1.0), Course("zoledronate", 4.0, interval_h=0.0),
    Course("zoledronate", 4.0, route="oral"), Course("zoledronate", 4.0, route="nasal"),
    Course("zoledronate", float("nan")), Course("zoledronate", 4.0, infusion_h=-1.0),
])
def test_bad_courses_are_refused(drugs, course):
    with pytest.raises(InputError, match="regimen"):
        list_doses([course], drugs, 100.0)


@pytest.mark.parametrize("change", [
    {"clas": "x"}, {"class": "vitamin"}, {"molar_mass": 0.0}, {"absorbed_fraction": 1.5},
    {"pharmacokinetics": {"central_volume": 1.0}}, {"route": "oral"},
    {"skeleton": {"affinity": 0.0}}, {"effects": {"bone": {}}},
])
def test_bad_drugs_are_refused(change):
    plain = read("zoledronate")
    text = {key: plain.pop(key) for key in DRUG_TEXT if key in plain}
    with pytest.raises(InputError, match="drug"):
        drug_from_mapping(text | inside(plain, DRUG_LAYOUT) | change)


def test_cytotoxic_has_no_kinetics_and_bad_patient_is_refused(drugs):
    with pytest.raises(InputError, match="no pharmacokinetics"):
        pharmacokinetics(drugs["anthracycline_taxane"], [], [0.0])
    with pytest.raises(InputError, match="bone_balance"):
        build_forcing([], {}, Patient((1e-5,), (1.0, 0.9)), 4, 6.0)
