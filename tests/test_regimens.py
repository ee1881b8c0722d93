"""Regimens as data: numbers of doses, phases, missed doses and adherence, from the file to the events of a run."""

import numpy as np
import pytest
from test_config import TEXT, mapping, only, problems_of, write

from niche_sim.config import build_experiment, load_drug, load_experiment
from niche_sim.config.branching import branch_mapping
from niche_sim.draws import run_key
from niche_sim.drugs import Drug
from niche_sim.errors import InputError
from niche_sim.pharmacokinetics import pharmacokinetics
from niche_sim.regimens import Course, list_doses, schedule_doses
from niche_sim.simulation import run_experiment

DRUGS = {name: Drug(name, "bisphosphonate", absorption_rate=1.0) for name in ("a", "b")}
KEY = run_key(7)


def taken(*courses, key=KEY, end=1e5):
    return [(dose.drug, dose.time_h) for dose in list_doses(courses, DRUGS, end, key)]


def experiment(course, length="40 d"):
    arms = {"a": {"regimen": [{"drug": "zoledronate", "dose": "4 mg"} | course]}}
    time = {"length": length, "tick": "6 h"}
    record = {"series": "10 d", "ledgers": False}
    return mapping(arms=arms, scene="trabecula_small", time=time, population={}, record=record)


# ------------------------------------------------------------------ the list of doses


def test_a_number_of_doses_ends_a_course_and_so_does_the_run():
    course = Course("a", 1.0, interval_h=10.0, start_h=5.0, doses=3)
    assert taken(course) == [("a", 5.0), ("a", 15.0), ("a", 25.0)]
    assert taken(course, end=20.0) == [("a", 5.0), ("a", 15.0)]


def test_missed_doses_are_scheduled_and_not_taken():
    course = Course("a", 1.0, interval_h=10.0, doses=4, missed=(1, 3))
    assert [(dose.time_h, given) for dose, given in schedule_doses([course], DRUGS, 1e3)] == [
        (0.0, False), (10.0, True), (20.0, False), (30.0, True)
    ]  # fmt: skip
    assert taken(course) == [("a", 10.0), ("a", 30.0)]


def test_adherence_is_the_share_taken():
    n = 40_000
    share = len(taken(Course("a", 1.0, interval_h=1.0, doses=n, adherence=0.8))) / n
    assert abs(share - 0.8) < 4.2 * np.sqrt(0.8 * 0.2 / n)
    assert taken(Course("a", 1.0, interval_h=1.0, doses=n, adherence=0.0)) == []
    assert len(taken(Course("a", 1.0, interval_h=1.0, doses=n))) == n


def test_doses_taken_are_independent_of_each_other_and_of_the_other_drug():
    n = 20_000
    a, b = (np.zeros(n), np.zeros(n))
    for name, found in (("a", a), ("b", b)):
        found[[int(time) for _, time in taken(Course(name, 1.0, interval_h=1.0, doses=n, adherence=0.5))]] = 1.0
    for first, second in ((a[:-1], a[1:]), (a, b)):
        assert abs(np.corrcoef(first, second)[0, 1]) < 4.2 / np.sqrt(n)


def test_other_courses_and_a_higher_adherence_take_none_of_the_doses_away():
    course = Course("a", 1.0, interval_h=24.0, doses=300, adherence=0.6)
    other = Course("b", 1.0, interval_h=24.0, doses=300, adherence=0.6)
    alone = taken(course)
    assert [dose for dose in taken(other, course) if dose[0] == "a"] == alone
    assert set(alone) < set(taken(Course("a", 9.0, interval_h=24.0, doses=300, adherence=0.9)))
    halves = [Course("a", 1.0, interval_h=24.0, start_h=24.0 * k, doses=150, adherence=0.6) for k in (0, 150)]
    assert taken(*halves) == alone
    assert taken(course, key=run_key(8)) != alone


def test_a_cycle_begins_its_doses_again():
    two_of_five = {"interval_h": 1.0, "doses": 2, "cycle_h": 5.0}
    assert [time for _, time in taken(Course("a", 1.0, start_h=3.0, until_h=14.0, **two_of_five))] == [3, 4, 8, 9, 13]
    assert [time for _, time in taken(Course("a", 1.0, missed=(3,), **two_of_five), end=11.0)] == [0, 1, 6, 10]
    assert [time for _, time in taken(Course("a", 1.0, until_h=10.0, **two_of_five))] == [0, 1, 5, 6]


def test_amounts_are_those_of_the_doses_taken():
    drug = load_drug("zoledronate").drug
    course = Course("zoledronate", 4.0, interval_h=48.0, doses=50, adherence=0.5, missed=(2,))
    given = list_doses([course], {"zoledronate": drug}, 1e5, KEY)
    found = pharmacokinetics(drug, [course], [1e4], KEY)
    assert 10 < len(given) < 40
    assert found["dosed"][0] == pytest.approx(len(given) * 4e6 / drug.molar_mass, rel=1e-9)


@pytest.mark.parametrize("keys", [
    {"adherence": 1.1}, {"adherence": -0.1}, {"adherence": float("nan")}, {"doses": 0}, {"doses": 2, "until_h": 9.0},
    {"doses": 2, "interval_h": None}, {"cycle_h": 9.0}, {"cycle_h": 9.0, "doses": 10}, {"cycle_h": 9.0, "interval_h": None},
])  # fmt: skip
def test_impossible_courses_are_refused(keys):
    with pytest.raises(InputError, match="regimen"):
        list_doses([Course("a", 1.0, **{"interval_h": 1.0} | keys)], DRUGS, 10.0)


# ------------------------------------------------------------------ files


@pytest.mark.parametrize(("course", "key", "said"), [
    ({"interval": "28 d", "until": "1 yr", "doses": 3}, "doses", "give one of them"),
    ({"doses": 3}, "doses", "need an `interval`"),
    ({"interval": "28 d", "doses": 0}, "doses", "between 1 and"),
    ({"interval": "28 d", "doses": 2.0}, "doses", "whole number"),
    ({"adherence": 1.2}, "adherence", "is more than 1"),
    ({"adherence": "often"}, "adherence", "number"),
    ({"interval": "28 d", "doses": 3, "missed": [1, 4]}, "missed.1", "no dose 4; the course has 3 doses"),
    ({"interval": "28 d", "until": "56 d", "missed": [3]}, "missed.0", "no dose 3; the course has 2 doses"),
    ({"missed": [2]}, "missed.0", "the course has 1 dose"),
    ({"interval": "28 d", "missed": [2, 2]}, "missed.1", "already in the list"),
    ({"interval": "28 d", "missed": [0]}, "missed.0", "between 1 and"),
    ({"interval": "28 d", "missed": 2}, "missed", "expected a list"),
    ({"dose": "0 mg"}, "dose", "is not above 0 mg"),
    ({"interval": "1 d", "cycle": "28 d"}, "cycle", "number of `doses` of each cycle"),
    ({"interval": "1 d", "doses": 14, "cycle": "10 d"}, "cycle", "is shorter than its 14 doses"),
    ({"route": "im"}, "route", "absorbed like sc"),
    ({"route": "sc"}, "route", "let its file say `route: sc`"),
    ({"interval": "1 d", "adherence": 80}, "adherence", "write '80 %' for percent"),
])  # fmt: skip
def test_a_mistake_of_a_course_is_told_at_its_key(course, key, said):
    problem = only(problems_of(build_experiment, experiment(course)))
    assert (problem.path, said in problem.message) == (f"arms.a.regimen.0.{key}", True), problem


def test_a_mistake_in_a_file_has_its_line_and_column(tmp_path):
    line = '  treated: {regimen: [{drug: zoledronate, dose: "4 mg", interval: "28 d", doses: 2, missed: [9]}]}'
    file = write(tmp_path, TEXT.replace("  treated: {regimen: zoledronate_q4w}", line))
    problem = only(problems_of(load_experiment, file))
    number = 1 + next(i for i, text in enumerate(file.read_text().splitlines()) if "missed" in text)
    assert (problem.line, problem.column) == (number, line.index("9") + 1)


def test_a_resolved_course_is_read_again_and_full_adherence_is_none_at_all():
    course = {"interval": "1 d", "doses": 3, "cycle": "7 d", "adherence": 0.7, "missed": [3, 1]}
    built = build_experiment(experiment(course))
    assert built.arms["a"].regimen[0].missed == (1, 3)
    assert build_experiment(built.resolved()) == built
    plain, full = (build_experiment(experiment(c)) for c in ({}, {"adherence": 1, "missed": []}))
    assert plain == full and plain.config_hash == full.config_hash


def test_phases_follow_each_other():
    phased = build_experiment(mapping(arms={"a": {"regimen": "zoledronate_phased"}})).arms["a"].regimen
    days = [dose.time_h / 24 for dose in list_doses(phased, {"zoledronate": load_drug("zoledronate").drug}, 365 * 24.0)]
    assert days == [0, 28, 56, 84, 112, 140, 168, 252, 336]


def test_a_branch_keeps_the_interval_of_pictures():
    """A list gains the new end; an interval goes on to it by itself."""
    past = load_experiment("e00_zoledronate_niche", sets={"record.pictures": "30 d"}, length="90 d").resolved()
    longer = build_experiment(branch_mapping(past, "36 d", [], None, "120 d", []))
    assert longer.record.pictures_h == 720.0
    past = past | {"record": past["record"] | {"pictures": ["0 h", "2160 h"]}}
    longer = build_experiment(branch_mapping(past, "36 d", [], None, "120 d", []))
    assert longer.record.pictures_h == [0.0, 2160.0, 2880.0]


@pytest.mark.parametrize(("course", "days"), [
    ({"interval": "10 d", "doses": 9, "missed": [2, 8]}, [0, 20, 30]), ({"interval": "10 d", "doses": 2}, [0, 10]),
    ({"interval": "10 d", "until": "25 d"}, [0, 10, 20]),
])  # fmt: skip
def test_a_branch_ends_a_course_with_doses_missed(course, days):
    past = build_experiment(experiment(course, length="100 d")).resolved()
    course = build_experiment(branch_mapping(past, "36 d", [], "clodronate_daily", None, [])).arms["a"].regimen[0]
    drugs = {"zoledronate": load_drug("zoledronate").drug}
    assert [dose.time_h / 24 for dose in list_doses([course], drugs, 2400.0)] == days


@pytest.mark.parametrize(("drug", "route", "keys"), [
    ("clodronate", "oral", {}), ("clodronate", "iv", {"infusion": "2 h"}), ("clodronate", "iv", {}),
    ("ibandronate", "oral", {}), ("ibandronate", "iv", {"infusion": "15 min"}), ("alendronate", "iv", {"infusion": "2 h"}),
    ("risedronate", "oral", {}), ("denosumab", "sc", {}), ("denosumab", "iv", {"infusion": "1 h"}),
])  # fmt: skip
def test_a_drug_is_given_on_its_routes(drug, route, keys):
    arms = {"a": {"regimen": [{"drug": drug, "dose": "50 mg", "route": route, "interval": "7 d"} | keys]}}
    built = build_experiment(mapping(arms=arms))
    course, file = built.arms["a"].regimen[0], load_drug(drug)
    found = pharmacokinetics(file.drug, [course], [24.0, 24.0 * 20])
    assert found["concentration"][0] > 0 and np.diff(found["excreted"])[0] > 0
    share = 1.0 if route == "iv" else file.drug.absorbed_fraction
    assert found["unabsorbed"][1] == pytest.approx((1 - share) * found["dosed"][1], rel=1e-9, abs=1e-6)


# ------------------------------------------------------------------ a run


def test_events_tell_doses_taken_and_missed_and_arms_share_the_draws():
    plain = experiment({"interval": "1 d", "adherence": 0.5, "missed": [4]})
    plain["arms"]["b"] = {"regimen": [{"drug": "zoledronate", "dose": "1 mg", "interval": "1 d", "adherence": 0.5}]}
    run = run_experiment(build_experiment(plain))
    events = {name: arm.events.set_index("time_h")["event"] for name, arm in run.arms.items()}
    due = {name: found[found.isin(["dose", "dose_missed"])] for name, found in events.items()}
    assert [len(found) for found in due.values()] == [40, 40]
    assert 8 < (due["a"] == "dose").sum() < 32
    assert due["a"].loc[72.0] == "dose_missed"
    assert due["a"].drop(72.0).equals(due["b"].drop(72.0))
    drugs = {"zoledronate": load_drug("zoledronate").drug}
    given = list_doses(build_experiment(plain).arms["b"].regimen, drugs, 960.0, run_key(0))
    assert [dose.time_h for dose in given] == due["b"].index[due["b"] == "dose"].tolist()


def test_no_adherence_is_no_drug():
    both = experiment({"interval": "1 d", "adherence": 0}, length="12 d")
    both["arms"]["b"] = {}
    run = run_experiment(build_experiment(both))
    series = [arm.series.drop(columns="arm") for arm in run.arms.values()]
    assert series[0].equals(series[1])
    assert set(run.arms["a"].events.query("kind == 'dose'")["event"]) == {"dose_missed"}
