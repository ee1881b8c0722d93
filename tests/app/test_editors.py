"""The editors of the application without a browser: what they show, what they hand on, where mistakes stand."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

solara = pytest.importorskip("solara", reason="the application needs solara: pip install 'niche-sim[view]'")
vw = pytest.importorskip("ipyvuetify")
Html = pytest.importorskip("ipyvue").Html

from niche_sim.config import load_experiment  # noqa: E402
from niche_sim.config.editing import change_parameters, list_courses  # noqa: E402
from niche_sim.view.app import parameter_editor, regimen_editor, switch_editor  # noqa: E402
from niche_sim.view.app.dose_now import DoseNow, guess_drug  # noqa: E402
from niche_sim.view.app.parameter_editor import ParameterEditor, find_matches, split_groups  # noqa: E402
from niche_sim.view.app.presets import Presets, gather_settings, try_preset  # noqa: E402
from niche_sim.view.app.regimen_editor import RegimenEditor, order_fields  # noqa: E402
from niche_sim.view.app.series_option import DEFAULT, MOST_POINTS, build_option, thin  # noqa: E402
from niche_sim.view.app.series_view import SeriesView  # noqa: E402
from niche_sim.view.app.switch_editor import SwitchEditor, sort_switches  # noqa: E402
from niche_sim.view.palette import pick_arm  # noqa: E402
from niche_sim.view.series import SERIES  # noqa: E402

MOMENT_H = 100 * 24.0
ARM = "zoledronate"


@pytest.fixture(scope="module")
def mapping():
    return load_experiment("e00").resolved()


def walk(widget):
    """Every widget of a page, from the top."""
    yield widget
    for child in getattr(widget, "children", ()):
        if not isinstance(child, str):
            yield from walk(child)


class Page:
    """A component drawn without a browser, and what it handed on."""

    def __init__(self, component, *arguments):
        self.handed = []
        self.mapping = next((value for value in arguments if isinstance(value, dict)), {})
        self.box, self.rc = solara.render(component(*arguments, self.take), handle_error=False)

    def take(self, *values):
        if callable(values[0]):  # a change, made at once
            values = (values[0](self.mapping).mapping,)
        self.handed.append(values[0] if len(values) == 1 else values)

    def all(self, kind, **traits):
        return [
            widget for widget in walk(self.box)
            if isinstance(widget, kind) and all(getattr(widget, name) == value for name, value in traits.items())
        ]  # fmt: skip

    def one(self, kind, **traits):
        found = self.all(kind, **traits)
        assert len(found) == 1, f"{len(found)} of {kind.__name__} {traits}"
        return found[0]

    def fields(self):
        return [field for field in self.all(vw.TextField) if not str(field.label).startswith("Search")]

    def type(self, label, text, which=0):
        field = self.all(vw.TextField, label=label)[which]
        field.v_model = text
        field.fire_event("blur", {})

    def click(self, words, which=0):
        found = [button for button in self.all(vw.Btn) if words in "".join(str(child) for child in button.children)]
        found += [button for button in self.all(vw.Btn) if words == (button.attributes or {}).get("title")]
        found[which].click()

    def choose(self, label, value, which=0):
        self.all(vw.Select, label=label)[which].v_model = value

    def mistakes(self):
        fields = [*self.all(vw.TextField), *self.all(vw.Select)]
        return {field.label: "; ".join(field.error_messages) for field in fields if field.error_messages}

    def alerts(self):
        return ["".join(alert.children) for alert in self.all(vw.Alert)]

    def words(self):
        return " ".join(child for html in self.all(Html) for child in html.children if isinstance(child, str))

    def open(self, *numbers):
        self.one(vw.ExpansionPanels).v_model = list(numbers)


# ------------------------------------------------------------------ parameters


def test_only_open_groups_have_fields(mapping):
    page = Page(ParameterEditor, mapping, ARM, 0.0)
    groups = split_groups(parameter_editor.list_parameters(mapping, ARM))
    assert len(page.all(vw.ExpansionPanel)) == len(groups) and page.fields() == []
    number = list(groups).index("dormancy")
    page.open(number)
    assert [field.label for field in page.fields()] == [item.key for item in groups["dormancy"]]
    field = page.one(vw.TextField, label="exit_rate")
    rate = mapping["parameters"]["dormancy"]["exit_rate"]
    assert (f"{field.v_model} {field.suffix}", field.hint) == (rate["value"], " to ".join(rate["range"]))
    assert rate["note"] in page.words() and rate["source"] in page.words() and rate["status"] in page.words()


@pytest.mark.parametrize("moment_h", [0.0, MOMENT_H])
def test_a_parameter_is_handed_on_only_when_it_is_sound(mapping, moment_h):
    page = Page(ParameterEditor, mapping, ARM, moment_h)
    page.open(list(split_groups(parameter_editor.list_parameters(mapping, ARM))).index("dormancy"))
    page.type("exit_rate", "9")
    assert page.handed == [] and page.mistakes() == {}
    page.click("Apply 1 change")
    assert page.handed == [] and "outside the range" in page.mistakes()["exit_rate"]
    page.type("exit_rate", "1e-4")
    page.click("Apply 1 change")
    expected = change_parameters(mapping, ARM, moment_h, {"dormancy.exit_rate": "1e-4 /d"}).mapping
    assert page.handed == [expected] and page.mistakes() == {}
    page.rc.render(ParameterEditor(expected, ARM, moment_h, page.take))
    assert page.one(vw.TextField, label="exit_rate").v_model == "1e-4"
    assert "1 changed" in page.words() and "changed; 5e-5 /d in the experiment" in page.words()
    page.click("put back")
    page.click("Apply 1 change")
    assert page.handed[1:] == [mapping]


def test_what_is_typed_can_be_taken_back(mapping):
    page = Page(ParameterEditor, mapping, ARM, 0.0)
    page.open(list(split_groups(parameter_editor.list_parameters(mapping, ARM))).index("dormancy"))
    page.type("exit_rate", "9")
    page.click("Apply")
    page.click("Revert")
    assert page.one(vw.TextField, label="exit_rate").v_model == "5e-5" and page.mistakes() == {}
    page.click("Apply")
    assert page.handed == []


def test_a_search_finds_parameters_whose_group_is_closed(mapping):
    page = Page(ParameterEditor, mapping, ARM, 0.0)
    search = page.one(vw.TextField, label="Search name, note, source or status")
    search.v_model = "exit rate"
    labels = [field.label for field in page.fields()]
    assert labels[0] == "dormancy.exit_rate" and len(labels) < 10
    page.type("dormancy.exit_rate", "9")
    search.v_model = ""
    page.click("Apply 1 change")
    assert "outside the range" in page.mistakes()["exit_rate"]  # its group has been opened
    search.v_model = "assumed"
    items = parameter_editor.list_parameters(mapping, ARM)
    assert len(find_matches(items, "assumed")) > len(page.fields()) == 40
    assert find_matches(items, "EXIT dormancy")[0].name == "dormancy.exit_rate"
    assert find_matches(items, "") == items and find_matches(items, "nowhere at all") == []


def test_what_is_read_once_is_fixed_once_the_run_has_begun(mapping):
    number = list(split_groups(parameter_editor.list_parameters(mapping, ARM))).index("endocrine")
    for moment_h in (0.0, MOMENT_H):
        page = Page(ParameterEditor, mapping, ARM, moment_h)
        page.open(number)
        assert {field.disabled for field in page.fields()} == {moment_h > 0}
        assert ("Read once" in page.words()) is (moment_h > 0)


def test_time_going_on_draws_nothing_anew(mapping, monkeypatch):
    drawn = []
    for module, name in ((parameter_editor, "list_parameters"), (switch_editor, "list_switches")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given, real=real, name=name: drawn.append(name) or real(*given))
    changed = change_parameters(mapping, ARM, MOMENT_H, {"dormancy.exit_rate": "1e-4 /d"}).mapping
    for editor, name in ((ParameterEditor, "list_parameters"), (SwitchEditor, "list_switches")):
        drawn.clear()
        page = Page(editor, changed, ARM, 6.0)
        for moment_h in (12.0, 18.0, 24.0):
            page.rc.render(editor(changed, ARM, moment_h, page.take))
        assert drawn == [name]
        page.rc.render(editor(changed, ARM, MOMENT_H, page.take))
        assert drawn == [name, name]


# ------------------------------------------------------------------ switches


def test_every_switch_is_shown_with_its_words(mapping):
    page = Page(SwitchEditor, mapping, ARM, MOMENT_H)
    items = switch_editor.list_switches(mapping, ARM)
    assert [item.v_model for item in page.all(vw.Switch)] == [i.on for group in sort_switches(items).values() for i in group]
    assert len(page.all(vw.Switch)) == len(items)
    assert all(item.words in page.words() and item.name.replace("_", " ") in page.words() for item in items)


@pytest.mark.parametrize(("moment_h", "place"), [(0.0, "switches"), (MOMENT_H, "changes")])
def test_a_switch_acts_at_once(mapping, moment_h, place):
    page = Page(SwitchEditor, mapping, ARM, moment_h)
    page.one(vw.Switch, attributes={"aria-label": "osteoclasts"}).v_model = False
    (new,) = page.handed
    off = {"osteoclasts": False}
    expected = off if moment_h == 0 else [{"at": "2400 h", "override": {}, "switches": off}]
    assert new["arms"][ARM][place] == expected and new["arms"]["control"] == mapping["arms"]["control"]


def test_a_switch_that_cannot_act_stays_and_says_why(mapping):
    page = Page(SwitchEditor, mapping, ARM, 730.5 * 24)
    page.one(vw.Switch, attributes={"aria-label": "osteoclasts"}).v_model = False
    assert page.handed == [] and page.one(vw.Switch, attributes={"aria-label": "osteoclasts"}).v_model is True
    assert page.alerts() == ["730.5 d is not inside the run, which ends at 730.5 d"]


# ------------------------------------------------------------------ regimen


def test_a_regimen_is_edited_course_by_course(mapping):
    page = Page(RegimenEditor, mapping, ARM, MOMENT_H)
    assert "zoledronate 4 mg iv every 28 d until 100 d" in page.words()  # given so far
    assert page.one(vw.TextField, label="First dose at").v_model == "112 d"
    page.click("Add a course")
    page.choose("Drug", "clodronate", 1)
    assert [field.v_model for field in page.all(vw.TextField, label="Dose")] == ["4 mg", "1600 mg"]
    assert page.all(vw.Select, label="Route")[1].items == ["oral", "iv"]
    page.type("Repeated every", "1 d", 1)
    page.type("No. of doses", "14", 1)
    page.click("Duplicate this course", 1)
    page.type("First dose at", "200 d", 2)
    page.click("Remove this course", 0)
    page.click("Apply")
    (new,) = page.handed
    assert [(c["drug"], c["start"], c.get("doses"), c.get("until")) for c in new["arms"][ARM]["regimen"]] == [
        ("zoledronate", "0 h", None, "2400 h"), ("clodronate", "2400 h", 14, None), ("clodronate", "4800 h", 14, None)
    ]  # fmt: skip
    page.rc.render(RegimenEditor(new, ARM, MOMENT_H, page.take))
    assert [field.v_model for field in page.all(vw.TextField, label="First dose at")] == ["100 d", "200 d"]


def test_mistakes_of_a_regimen_stand_at_their_fields(mapping):
    page = Page(RegimenEditor, mapping, ARM, MOMENT_H)
    page.type("Dose", "4")
    page.type("First dose at", "50 d")
    page.type("No. of doses", "some")
    page.click("Apply")
    assert page.handed == []
    told = {"Dose": "missing unit", "First dose at": "is past: it is 100 d", "No. of doses": "whole number"}
    assert page.mistakes().keys() == told.keys() and all(words in page.mistakes()[key] for key, words in told.items())
    page.click("Revert")
    assert page.mistakes() == {} and page.one(vw.TextField, label="Dose").v_model == "4 mg"


def test_a_shipped_regimen_begins_at_the_moment(mapping):
    page = Page(RegimenEditor, mapping, "control", MOMENT_H)
    assert "No drug is to be given" in page.words()
    page.choose("Load a regimen", "zoledronate_phased")
    assert [field.v_model for field in page.all(vw.TextField, label="First dose at")] == ["100 d", "268 d"]
    page.click("Apply")
    (new,) = page.handed
    assert [course["start"] for course in list_courses(new, "control", MOMENT_H)] == ["2400 h", "6432 h"]


def test_rare_fields_are_shown_where_they_are_used(mapping):
    page = Page(RegimenEditor, mapping, ARM, 0.0)
    assert page.all(vw.TextField, label="Adherence") == []
    page.click("Cycles, adherence, missed doses")
    page.type("Adherence", "80 %")
    page.type("Missed doses", "2, 3")
    page.click("Apply")
    course = page.handed[0]["arms"][ARM]["regimen"][0]
    assert course["adherence"] == 0.8 and course["missed"] == [2, 3]
    keys = [field.key for field in order_fields(regimen_editor.write_fields(course), False)]
    assert keys[-2:] == ["adherence", "missed"] and "cycle" not in keys and "infusion" in keys
    assert "infusion" not in [f.key for f in order_fields(regimen_editor.load_regimen("denosumab_q4w", 0)[0], True)]


# ------------------------------------------------------------------ a dose


def test_the_usual_dose_of_a_drug_is_given_now(mapping):
    page = Page(DoseNow, mapping, "control", MOMENT_H)
    assert (page.one(vw.Select, label="Drug").v_model, page.one(vw.TextField, label="Dose").v_model) == (
        "zoledronate",
        "4 mg",
    )
    page.choose("Drug", "clodronate")
    page.choose("Route", "iv")
    assert page.one(vw.TextField, label="Dose").v_model == "300 mg"
    page.click("Give now")
    assert page.handed[0]["arms"]["control"]["regimen"] == [
        {"drug": "clodronate", "dose": "300 mg", "start": "2400 h", "route": "iv", "infusion": "2 h"}
    ]
    assert guess_drug(page.handed[0], "control") == "clodronate"


def test_a_dose_that_cannot_be_given_says_why(mapping):
    page = Page(DoseNow, mapping, "control", MOMENT_H)
    page.type("Dose", "4")
    page.click("Give now")
    assert page.handed == [] and "missing unit" in page.mistakes()["Dose"]
    page = Page(DoseNow, mapping, "control", 730.5 * 24)
    page.click("Give now")
    assert page.handed == [] and "not inside the run" in page.alerts()[0]


# ------------------------------------------------------------------ presets


def test_an_experiment_is_chosen_with_another_patient_and_for_a_quick_look():
    page = Page(Presets)
    title = "Does zoledronate clear tumour cells or keep them asleep"
    rows = [row for row in page.all(Html) if row.class_ == "niche-preset"]
    assert len(rows) > 10 and title in page.words() and "100 x 100 voxels" in page.words()
    assert page.all(vw.Btn) == []
    next(row for row in rows if any(title in child.children for child in row.children)).fire_event("click", {})
    page.click("Open")
    page.choose("Patient", "premenopausal")
    page.one(vw.Checkbox).v_model = True
    assert "not for numbers" in page.words()
    page.click("Open")
    short = {"patient": "premenopausal", "time.length": "4320 h", "time.spin_up": "1440 h"}
    assert page.handed == [("e05_clear_or_keep", {}), ("e05_clear_or_keep", short)]
    assert load_experiment("e05", sets=short).patient.name == "premenopausal"


def test_a_preset_that_does_not_fit_says_why():
    assert gather_settings("e00_zoledronate_niche", "", "trabecula_small", False) == {"scene": "trabecula_small"}
    assert try_preset("e00_zoledronate_niche", {"scene": "trabecula_small"}) == ""
    assert "unknown scene" in try_preset("e00_zoledronate_niche", {"scene": "nowhere"})


# ------------------------------------------------------------------ series


def frame(rows=400, step_h=24.0):
    times = np.arange(rows) * step_h
    wave = 10 + 5 * np.sin(times / 500)
    return pd.DataFrame({
        "time_h": times, "dormant": np.floor(wave), "cycling": np.floor(wave / 2), "cycling_arrived": 1.0 * (times > 900),
        "osteoclasts": wave, "bone_volume_fraction": 0.2 - 1e-6 * times, "plasma_nmol_per_L": wave,
    })  # fmt: skip


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=3000), st.integers(8, 400))
def test_a_thinned_line_keeps_its_ends_and_its_peaks(values, most):
    values = np.array(values)
    kept = thin(np.arange(len(values)), values, most)
    assert len(kept) <= max(most, 8) and (np.diff(kept) > 0).all()
    assert kept[0] == 0 and kept[-1] == len(values) - 1
    assert values[kept].min() == values.min() and values[kept].max() == values.max()


def test_each_arm_keeps_its_colour_and_each_panel_its_unit():
    frames = {"b": frame(), "c": frame(200)}
    option = build_option(frames, DEFAULT, 2400.0, columns=2, arms=["a", "b", "c"])
    json.dumps(option, allow_nan=False)
    lines = [line for line in option["series"] if line["data"]]
    assert {(line["name"], line["color"]) for line in lines} == {("b", pick_arm(1)["color"]), ("c", pick_arm(2)["color"])}
    told = {name: (heading, unit) for name, heading, unit in SERIES}
    for name, title, axis in zip(DEFAULT, option["title"], option["xAxis"]):
        assert all(words in title["text"] for words in told[name])
        assert axis["axisPointer"]["label"]["formatter"] == f"{{value}} d: {told[name][0]}"
    marks = [line["markLine"]["data"] for line in option["series"] if "markLine" in line]
    assert marks == [[{"xAxis": 100.0}]] * 4
    assert {line["lineStyle"]["type"] for line in lines} == {"solid", "dotted"}
    assert [line["unit"] for line in lines if line["name"] == "b" and "unit" in line] == ["cells", "cells", "cells", "%"]
    assert len({line["id"] for line in option["series"]}) == len(option["series"])
    last = [line["data"][-1] for line in lines if line["name"] == "b" and line["xAxisIndex"] == 0]
    assert last == [[399.0, float(frame()["dormant"].iloc[-1])]]
    bone = next(line for line in lines if line["xAxisIndex"] == 3)
    assert bone["data"][-1] == [399.0, pytest.approx(-100 * 1e-6 * 399 * 24 / 0.2, rel=1e-4)]


def test_rows_may_be_a_table_or_mappings_and_long_times_are_years():
    table, names = frame(1500), ["plasma_nmol_per_L", "dormant"]
    option = build_option({"a": table}, names)
    assert option == build_option({"a": table.to_dict("records")}, names)
    assert max(len(line["data"]) for line in option["series"]) <= MOST_POINTS < len(table)
    assert option["xAxis"][0]["max"] == pytest.approx(1499 * 24 / 8766) and option["xAxis"][1]["name"] == "yr"
    first = [line["showSymbol"] for line in build_option({"a": table[:1]}, names)["series"]]
    assert first == [True, True] and not any(line["showSymbol"] for line in option["series"])  # one point makes no line
    assert build_option({"a": []}, names, 0.0)["xAxis"][0]["max"] == 1
    assert [line for line in build_option({"a": table}, ["macrophages"])["series"] if line["data"]] == []


def test_other_series_can_be_chosen():
    told = []
    box, _ = solara.render(SeriesView({"a": frame()}, 240.0, on_names=told.append), handle_error=False)

    def list_charts():
        return [json.loads(widget.option) for widget in walk(box) if hasattr(widget, "option")]

    select = next(widget for widget in walk(box) if isinstance(widget, vw.Select))
    assert select.v_model == list(DEFAULT) and len(select.items) == len(SERIES)
    assert len(list_charts()[0]["title"]) == 4
    select.v_model = ["osteoblasts", "dormant"]
    assert told == [["dormant", "osteoblasts"]]
    assert [title["text"][3:8] for title in list_charts()[0]["title"]] == ["Dorma", "Osteo"]
    select.v_model = []
    assert list_charts() == []
