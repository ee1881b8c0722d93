"""Changes by hand: the past stays to the bit, every dose is given once, every mistake is at its field."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from niche_sim.config import SWITCHES, build_experiment, experiment_schema, load_experiment, load_parameters
from niche_sim.config.choices import (
    complete,
    list_drugs,
    list_fields,
    list_parameters,
    list_presets,
    list_switches,
    read_fields,
    shorten,
    write_fields,
)
from niche_sim.config.courses import begin_courses, end_courses, tidy_time
from niche_sim.config.editing import (
    add_arm,
    change_parameters,
    change_regimen,
    change_switches,
    cut_to,
    give_dose,
    list_courses,
    name_arm,
)
from niche_sim.config.schema import EFFECTS, PROCESSES, CourseModel
from niche_sim.errors import InputError
from niche_sim.regimens import schedule_doses
from niche_sim.simulation import run_experiment
from niche_sim.store import write_yaml
from niche_sim.units import convert, write

ROOT = Path(__file__).resolve().parent.parent
DAY = 24.0
MOMENT_H = 12 * DAY
SETS = {
    "time.length": "20 d",
    "time.spin_up": "10 d",
    "record.series": "1 d",
    "record.cells": "1 d",
    "record.ledgers": "false",
}


@pytest.fixture(scope="module")
def mapping():
    return load_experiment(ROOT / "tests" / "lively.yaml", sets=SETS).resolved()


class Kept:
    """Keeps the state of each arm at one step."""

    def __init__(self, step):
        self.step, self.arrays = step, {}

    def list_steps(self, last):
        return {self.step}

    def load(self, arm):
        return None

    def save(self, arm, saved):
        if saved.step == self.step:
            self.arrays[arm] = {name: array.copy() for name, array in saved.arrays.items()}


@pytest.fixture(scope="module")
def whole(mapping):
    """The run without a change, and its state at the moment."""
    keeper = Kept(round(MOMENT_H / 6))
    return run_experiment(build_experiment(mapping), keeper=keeper), keeper.arrays


def tables(arm, until_h=math.inf):
    """The record of an arm up to a time: what is so at the time, and what happened before it."""
    held = [table[table["time_h"] <= until_h].reset_index(drop=True) for table in (arm.series, arm.cells)]
    return [*held, arm.events[arm.events["time_h"] < until_h].reset_index(drop=True)]


def check_past(mapping, whole, arm, *, new_drug=False):
    """The arm is the unchanged one until the moment, and another after it.

    With a new drug the sums over drugs have one term of 0 more: they are added up in another order.
    """
    old, new = whole[0].arms[arm], run_experiment(build_experiment(mapping)).arms[arm]
    for before, now in zip(tables(old, MOMENT_H), tables(new, MOMENT_H)):
        assert len(now) > 3
        sums = [name for name in now if new_drug and str(name).startswith("drug_")]
        pd.testing.assert_frame_equal(now.drop(columns=sums), before.drop(columns=sums), check_exact=True)
        pd.testing.assert_frame_equal(now[sums], before[sums], rtol=1e-13)
    assert not tables(old)[0].equals(tables(new)[0])
    return new


def sound(edit):
    assert edit.mistakes == {} and edit.mapping is not None
    assert build_experiment(edit.mapping).resolved() == edit.mapping
    return edit.mapping


# ------------------------------------------------------------------ the past stays


def test_a_parameter_changed_on_the_way_leaves_the_past(mapping, whole):
    new = sound(change_parameters(mapping, "untreated", MOMENT_H, {"division.maximum_rate": "0.9 /d"}))
    assert new["arms"]["untreated"]["changes"] == [
        {"at": "288 h", "override": {"division.maximum_rate": "0.9 /d"}, "switches": {}}
    ]
    assert new["arms"]["treated"] == mapping["arms"]["treated"]
    check_past(new, whole, "untreated")


def test_a_switch_thrown_on_the_way_leaves_the_past(mapping, whole):
    arm = check_past(sound(change_switches(mapping, "untreated", MOMENT_H, {"osteoclasts": False})), whole, "untreated")
    later = arm.series[arm.series["time_h"] > MOMENT_H]
    assert len(later) and (later["osteoclasts"] == 0).all()


@pytest.mark.parametrize(("arm", "drug", "dose"), [("untreated", "alendronate", "1 g"), ("treated", "zoledronate", "4 mg")])
def test_a_dose_given_now_is_one_dose_more(mapping, whole, arm, drug, dose):
    new = sound(give_dose(mapping, arm, MOMENT_H, drug, dose, route="iv"))
    events = check_past(new, whole, arm, new_drug=drug == "alendronate").events
    old = whole[0].arms[arm].events
    given_now, before = (table[table["event"] == "dose"][["time_h", "cause"]].value_counts() for table in (events, old))
    more = given_now.sub(before, fill_value=0)
    assert more[more != 0].to_dict() == {(MOMENT_H, drug): 1.0}


def test_another_regimen_keeps_the_doses_given_and_gives_no_other(mapping, whole):
    new = sound(change_regimen(mapping, "treated", MOMENT_H, [{"drug": "ibandronate", "dose": "6 mg", "interval": "3 d"}]))
    events = check_past(new, whole, "treated", new_drug=True).events
    doses = events[events["event"] == "dose"].sort_values(["time_h", "cause"])
    days = {drug: list(rows["time_h"] / DAY) for drug, rows in doses.groupby("cause")}
    assert days == {
        "zoledronate": [0], "anthracycline_taxane": [5], "clodronate": [2], "ibandronate": [12, 15, 18]
    }  # fmt: skip


def test_the_courses_that_are_left_change_nothing(mapping, whole):
    left = list_courses(mapping, "treated", MOMENT_H)
    new = run_experiment(build_experiment(sound(change_regimen(mapping, "treated", MOMENT_H, left)))).arms["treated"]
    assert all(a.equals(b) for a, b in zip(tables(new), tables(whole[0].arms["treated"])))


def test_what_is_cut_ends_in_the_state_of_the_moment(mapping, whole):
    short = cut_to(mapping, MOMENT_H, ["treated"])
    assert short["time"]["length"] == "288 h" and short["record"]["pictures"] == ["0 h", "288 h"]
    run = run_experiment(build_experiment(short))
    assert list(run.arms) == ["treated"]
    found, expected = run.arms["treated"].final_hash_arrays, whole[1]["treated"]
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_what_is_cut_loses_what_comes_later_only(mapping):
    changed = sound(change_parameters(mapping, "treated", MOMENT_H, {"division.maximum_rate": "0.9 /d"}))
    for time_h, left in ((MOMENT_H, False), (MOMENT_H + 6, True)):
        arm = cut_to(changed, time_h, ["treated"])["arms"]["treated"]
        assert ("changes" in arm) is left
        assert [course["drug"] for course in arm["regimen"]] == ["zoledronate", "anthracycline_taxane", "clodronate"]
    assert len(cut_to(mapping, 480.0, ["treated"])["arms"]["treated"]["regimen"]) == 3  # denosumab would begin at the end
    assert cut_to(mapping, 6.0, ["untreated", "treated"])["arms"].keys() == {"untreated", "treated"}


def test_what_is_cut_keeps_the_interval_of_its_pictures(mapping):
    every_day = dict(mapping) | {"record": dict(mapping["record"]) | {"pictures": "24 h"}}
    assert cut_to(every_day, 48.0, list(mapping["arms"])[:1])["record"]["pictures"] == "24 h"


@pytest.mark.parametrize(
    ("time_h", "arms", "told"),
    [(0, ["treated"], "nothing has been"), (7.0, ["treated"], "whole number of ticks"), (6.0, ["x"], "no arm 'x'")],
)
def test_what_cannot_be_cut_is_told(mapping, time_h, arms, told):
    with pytest.raises(InputError, match=told):
        cut_to(mapping, time_h, arms)


def test_the_file_of_an_experiment_runs_as_it_is(mapping, tmp_path):
    file = tmp_path / "now.yaml"
    short = cut_to(mapping, MOMENT_H, ["treated"])
    file.write_text(write_yaml(short), encoding="utf-8")
    assert load_experiment(file).config_hash == build_experiment(short).config_hash
    assert file.read_text().splitlines()[0].startswith("# An experiment of niche_sim")


# ------------------------------------------------------------------ from the start, and back


def test_at_time_0_the_arm_itself_changes(mapping):
    new = sound(change_parameters(mapping, "treated", 0, {"division.maximum_rate": "0.9 /d"}))
    new = sound(change_switches(new, "treated", 0, {"mutation": False}))
    arm = new["arms"]["treated"]
    assert arm["override"] == {"division.maximum_rate": "0.9 /d"} and arm["switches"] == {"mutation": False}
    assert "changes" not in arm and arm["regimen"] == mapping["arms"]["treated"]["regimen"]
    assert build_experiment(new).arm_parameters("treated").value("division.maximum_rate") == pytest.approx(0.9 / DAY)
    courses = [{"drug": "denosumab", "dose": "60 mg"}]
    regimen = sound(change_regimen(new, "treated", 0, courses))["arms"]["treated"]["regimen"]
    assert [course["drug"] for course in regimen] == ["denosumab"]


@pytest.mark.parametrize("moment_h", [0, MOMENT_H])
def test_a_change_taken_back_leaves_nothing(mapping, moment_h):
    new = sound(change_parameters(mapping, "treated", moment_h, {"division.maximum_rate": "0.9 /d"}))
    new = sound(change_switches(new, "treated", moment_h, {"mutation": False}))
    assert new != mapping
    new = sound(change_switches(new, "treated", moment_h, {"mutation": True}))
    assert sound(change_parameters(new, "treated", moment_h, {"division.maximum_rate": "0.3 /d"})) == mapping


def test_what_holds_is_shown_from_its_moment_on(mapping):
    new = sound(change_parameters(mapping, "treated", MOMENT_H, {"division.maximum_rate": "0.9 /d"}))
    new = sound(change_switches(new, "treated", MOMENT_H, {"mutation": False}))
    for moment_h, number, on in ((0, "0.3", True), (MOMENT_H - 6, "0.3", True), (MOMENT_H, "0.9", False)):
        held = {item.name: item for item in list_parameters(new, "treated", moment_h)}["division.maximum_rate"]
        assert (held.number, held.unit, held.usual, held.changed) == (number, "/d", "0.3 /d", number == "0.9")
        assert {item.name: item.on for item in list_switches(new, "treated", moment_h)}["mutation"] is on
    later = sound(change_parameters(new, "treated", MOMENT_H + 24, {"division.maximum_rate": "0.3 /d"}))
    assert later["arms"]["treated"]["changes"][1]["override"] == {"division.maximum_rate": "0.3 /d"}


# ------------------------------------------------------------------ mistakes


@pytest.mark.parametrize("moment_h", [0, MOMENT_H])
def test_each_mistake_is_at_its_parameter(mapping, moment_h):
    values = {
        "dormancy.exit_rate": "9 /d", "death.surveillance": 3.0, "division.maximum_rat": "1 /d",
        "macrophages.residence": "1 um", "division.maximum_rate": "0.9 /d",
    }  # fmt: skip
    edit = change_parameters(mapping, "treated", moment_h, values)
    assert edit.mapping is None
    told = {
        "dormancy.exit_rate": "outside the range", "death.surveillance": "missing unit",
        "division.maximum_rat": "did you mean 'division.maximum_rate'", "macrophages.residence": "is a length",
    }  # fmt: skip
    assert edit.mistakes.keys() == told.keys()
    assert all(words in edit.mistakes[name] for name, words in told.items())


def test_what_is_read_once_can_change_at_the_start_only(mapping):
    once = [item for item in list_parameters(mapping, "treated") if item.read_once]
    assert {"markers", "endocrine"} <= {item.group for item in once}
    name, low = "markers.ctx_assay_cv", {item.name: item.low for item in once}["markers.ctx_assay_cv"]
    value = complete(low, "")
    assert sound(change_parameters(mapping, "treated", 0, {name: value}))
    mistakes = change_parameters(mapping, "treated", MOMENT_H, {name: value}).mistakes
    assert list(mistakes) == [name] and "read once" in mistakes[name]


def test_a_tick_too_long_for_a_speed_is_told_at_the_speed(mapping):
    coarse = dict(mapping) | {"time": mapping["time"] | {"tick": "24 h"}}
    values = {"migration.macrophage_speed": "50 um/h", "division.basal_rate": "0.02 /d"}
    edit = change_parameters(coarse, "treated", 0, values)
    assert list(edit.mistakes) == ["migration.macrophage_speed"] and "too long" in str(edit.mistakes)


@pytest.mark.parametrize(
    ("moment_h", "told"), [(7.0, "whole number of ticks"), (480.0, "not inside the run"), (-6.0, "not inside the run")]
)
def test_an_impossible_moment_is_told(mapping, moment_h, told):
    course = {"drug": "zoledronate", "dose": "4 mg"}
    for edit in (
        change_parameters(mapping, "treated", moment_h, {"division.maximum_rate": "0.9 /d"}),
        change_switches(mapping, "treated", moment_h, {"mutation": False}),
        change_regimen(mapping, "treated", moment_h, [course | {"start": "480 h"}] if moment_h < 0 else [course]),
        give_dose(mapping, "treated", moment_h, "zoledronate", "4 mg"),
    ):
        assert edit.mapping is None and "moment" in edit.mistakes
    assert told in change_switches(mapping, "treated", moment_h, {"mutation": False}).mistakes["moment"]


def test_each_mistake_is_at_its_course_whatever_was_given_before(mapping):
    wrong = [
        {"drug": "zoledronat", "dose": "4 mg"}, {"drug": "zoledronate", "dose": "4"},
        {"drug": "zoledronate", "dose": "4 mg", "start": "5 d"}, {"drug": "denosumab", "dose": "60 mg", "route": "oral"},
        {"drug": "clodronate", "dose": "1 g", "interval": "1 d", "doses": "six", "missed": ["x"], "cycel": "3 d"},
        {"dose": "4 mg"},
    ]  # fmt: skip
    told = {
        "0.drug": "did you mean 'zoledronate'", "1.dose": "missing unit", "2.start": "is past", "3.route": "sc or iv",
        "4.doses": "whole number", "4.missed": "whole number", "4.cycel": "did you mean 'cycle'", "5.drug": "needed here",
    }  # fmt: skip
    for arm in ("treated", "untreated"):
        edit = change_regimen(mapping, arm, MOMENT_H, wrong)
        assert edit.mapping is None and edit.mistakes.keys() == told.keys()
        assert all(words in edit.mistakes[place] for place, words in told.items())


def test_the_mistakes_of_a_dose_are_at_its_keys(mapping):
    edit = give_dose(mapping, "treated", MOMENT_H, "denosumab", "60", route="oral", infusion="a while")
    assert edit.mistakes.keys() == {"dose", "infusion"}
    edit = give_dose(mapping, "treated", MOMENT_H, "denosumab", "60 mg", route="oral")
    assert edit.mistakes.keys() == {"route"}
    assert give_dose(mapping, "treated", MOMENT_H, "nothing", "60 mg").mistakes.keys() == {"drug"}


def test_an_unknown_arm_is_refused(mapping):
    for change in (
        lambda: change_parameters(mapping, "x", 0, {}), lambda: change_switches(mapping, "x", 0, {}),
        lambda: change_regimen(mapping, "x", 0, []), lambda: add_arm(mapping, "x"), lambda: list_parameters(mapping, "x"),
    ):  # fmt: skip
        with pytest.raises(InputError, match="no arm 'x'; there is untreated, treated"):
            change()


# ------------------------------------------------------------------ arms


def test_another_future_gets_a_free_name(mapping):
    two = sound(add_arm(mapping, "treated"))
    assert list(two["arms"]) == ["untreated", "treated", "treated_2"]
    assert two["arms"]["treated_2"] == mapping["arms"]["treated"]
    assert name_arm(two, "treated") == name_arm(two, "treated_2") == "treated_3"
    assert name_arm({"arms": {"a" * 64: {}}}, "a" * 64) == "a" * 62 + "_2"


@pytest.mark.parametrize("name", ["two words", "", "con", "__x", "Treated", "treated", "a" * 65])
def test_a_name_that_no_arm_can_have_is_told(mapping, name):
    edit = add_arm(mapping, "treated", name)
    assert edit.mapping is None and edit.mistakes.keys() == {"name"}


def test_there_are_at_most_a_hundred_arms(mapping):
    full = dict(mapping) | {"arms": {f"a{i}": {} for i in range(100)}}
    assert "at most 100" in add_arm(full, "a0").mistakes["name"]


# ------------------------------------------------------------------ courses cut in two

HOURS = st.integers(1, 400)


@st.composite
def courses(draw):
    """A sound course of any kind."""
    course = {"drug": "zoledronate", "dose": "4 mg", "start": f"{draw(st.integers(0, 300))} h"}
    kind = draw(st.sampled_from(["single", "open", "doses", "until", "cycle"]))
    if kind == "single":
        return course
    interval, doses = draw(st.integers(1, 60)), draw(st.integers(1, 12))
    course["interval"] = f"{interval} h"
    if kind in ("doses", "cycle"):
        course["doses"] = doses
    if kind == "until" or (kind == "cycle" and draw(st.booleans())):
        course["until"] = f"{int(course['start'].split()[0]) + draw(st.integers(1, 900))} h"
    if kind == "cycle":
        course["cycle"] = f"{max(24, interval * doses) + draw(st.integers(0, 90))} h"
    most = {"doses": doses, "until": 1}.get(kind, 20)
    missed = sorted(draw(st.sets(st.integers(1, most), max_size=3)))
    return course | ({"missed": missed} if missed else {}) | ({"adherence": 0.5} if draw(st.booleans()) else {})


def list_given(written):
    """Every dose of courses as the engine takes them: time, drug, dose, and whether it is taken."""
    arms = {"a": {"regimen": written}}
    built = build_experiment(CUT | {"arms": arms})
    return [(dose.time_h, taken) for dose, taken in schedule_doses(built.arms["a"].regimen, built.host_drugs(), 1200.0, 3)]


CUT = load_experiment(ROOT / "tests" / "lively.yaml", sets={"time.length": "50 d"}).resolved()


@given(courses(), HOURS)
@example({"drug": "zoledronate", "dose": "4 mg", "interval": "24 h", "doses": 3, "cycle": "240 h", "missed": [2, 5]}, 264)
@example({"drug": "zoledronate", "dose": "4 mg", "interval": "24 h", "doses": 3}, 48)
def test_what_was_given_and_what_is_left_are_the_course(course, moment_h):
    whole = list_given([course])
    past, rest = list_given(end_courses([course], moment_h)), list_given(begin_courses([course], moment_h, 1200.0))
    assert past == [dose for dose in whole if dose[0] < moment_h]
    assert rest == [dose for dose in whole if dose[0] >= moment_h]


@given(st.one_of(st.integers(0, 10**6).map(float), st.floats(0, 1e6), st.integers(0, 4000).map(lambda n: n / 60)))
def test_a_time_written_for_reading_is_the_same_time(hours):
    assert convert(tidy_time(str(write(hours, "h"))), "h") == hours


def test_times_are_written_in_days_and_minutes_where_they_are_short():
    hours = ("672 h", "0.25 h", "36 h", "6 h", "0 h", "25 h", "4 mg", "soon")
    assert [tidy_time(text) for text in hours] == ["28 d", "15 min", "1.5 d", "6 h", "0 h", "25 h", "4 mg", "soon"]


# ------------------------------------------------------------------ choices


def test_every_switch_says_what_it_is_in_schema_and_docs():
    properties = experiment_schema()["$defs"]["SwitchesModel"]["properties"]
    page = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    told = PROCESSES | EFFECTS
    assert tuple(told) == SWITCHES
    for name, words in told.items():
        assert 10 < len(words) < 115 and words.endswith((".", ")"))
        assert properties[name]["description"] == words
        assert f"| `{name}` | {words} |" in page


def test_every_parameter_is_listed_as_the_set_has_it(mapping):
    human, listed = load_parameters("human"), list_parameters(load_experiment("e00").resolved(), "control")
    assert [item.name for item in listed] == list(human)
    for item in listed:
        assert not item.changed and item.status == human[item.name].status and item.source == human[item.name].source
        assert human[item.name].replace(complete(item.number, item.unit)).value == human[item.name].value
        assert human[item.name].replace(complete(item.low, "")).value == human[item.name].range[0]
    assert sum(item.changed for item in list_parameters(mapping, "treated")) == 0


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [("3", "/d", "3 /d"), (" 1e-4 ", "/d", "1e-4 /d"), ("3 /h", "/d", "3 /h"), ("0.5", "", 0.5), ("50 %", "", "50 %"),
     ("much", "/d", "much"), ("", "/d", "")],
)  # fmt: skip
def test_a_bare_number_takes_the_unit_beside_it(text, unit, value):
    assert complete(text, unit) == value


@given(courses())
def test_a_course_is_what_its_fields_write(course):
    written = read_fields(write_fields(course))
    assert CourseModel.model_validate(written) == CourseModel.model_validate(course)


def test_fields_tell_what_is_expected_and_leave_mistakes_to_the_gate(mapping):
    fields = {field.key: field for field in list_fields()}
    assert list(fields) == [info.alias or name for name, info in CourseModel.model_fields.items()]
    assert [key for key, field in fields.items() if field.needed] == ["drug", "dose"]
    assert fields["route"].words == ("iv", "oral", "sc") and fields["adherence"].default == "1"
    assert fields["dose"].expected == "a mass, 0 mg to 100 g" and fields["start"].default == "0 h"
    wrong = {"drug": "zoledronate", "dose": "4 mg", "interval": "7 d", "doses": "2.5", "adherence": "often", "missed": "1,b"}
    mistakes = change_regimen(mapping, "treated", 0, [read_fields(wrong)]).mistakes
    assert mistakes.keys() == {"0.doses", "0.adherence", "0.missed"}


def test_the_usual_dose_of_every_drug_can_be_given_on_every_route(mapping):
    drugs = {drug.name: drug for drug in list_drugs(mapping)}
    assert drugs["zoledronate"].usual["iv"] == ("4 mg", "15 min") and drugs["clodronate"].routes == ("oral", "iv")
    assert len(drugs) == 12
    for drug in drugs.values():
        dose, infusion = drug.usual[drug.routes[0]]
        assert dose
        for route in drug.routes:
            sound(give_dose(mapping, "untreated", MOMENT_H, drug.name, drug.usual[route][0] or dose, route))
        sound(give_dose(mapping, "untreated", MOMENT_H, drug.name, dose, drug.routes[0], infusion or None))


def test_presets_have_titles_and_short_looks_are_said_to_be_short():
    for kind in ("experiments", "patients", "scenes", "regimens"):
        presets = list_presets(kind)
        assert len(presets) > 5 and all(preset.title and preset.kind == kind for preset in presets)
    assert all(preset.facts and preset.note for preset in list_presets("experiments"))
    settings, said = shorten("e00_zoledronate_niche")
    assert load_experiment("e00_zoledronate_niche", sets=settings).length_h == 180 * DAY
    assert "180 d instead of 2 yr" in said
    assert shorten("macrophage_depletion")[0] == {"time.spin_up": "1440 h"}
