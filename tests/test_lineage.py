"""Lineages: places of events from the engine, lives told from events, files, the figure and the command."""

from datetime import UTC, datetime
from io import StringIO
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from baseline import HERE
from test_cli import call
from test_state import niche  # noqa: F401

import niche_sim as ns
from niche_sim.errors import InputError
from niche_sim.kinds import DTC, FORMING, LOG_WAKE, PLACE_NAMES, RESORBING, TGF_BETA, WAKE_FACTORS
from niche_sim.lineage import encode_lineages
from niche_sim.lineage.tree import is_alive
from niche_sim.observers import list_events
from niche_sim.places import find_place, log_cell
from niche_sim.state import add_cell
from niche_sim.store import reserve, write_result
from niche_sim.view.lineage import choose_cells, lineage_figure, list_spans, place_cells

DRAWS = dict.fromkeys("zyx", 0)


def make_events(*rows):
    """Return events of one arm from (day, event, cause, ident, parent, place)."""
    clone = {ident: 1 for _, _, _, ident, _, _ in rows} | {9: 9}
    frame = pd.DataFrame([
        {"arm": "only", "time_h": 24.0 * day, "event": event, "cause": cause, "kind": "dtc", "ident": ident,
         "parent": parent, "clone": clone[ident], **DRAWS, "place": place, "tgf_beta_nmol_per_L": 2e-5, "suitability": 0.4}
        for day, event, cause, ident, parent, place in rows
    ])  # fmt: skip
    return frame.astype({"ident": "u8", "parent": "u8"})


LIFE = make_events(
    (0, "seed", "dormant", 1, 0, "endosteal"),
    (0, "seed", "dormant", 9, 0, "perivascular"),
    (10, "wake", "factors", 1, 0, "marrow"),
    (20, "birth", "", 2, 1, "marrow"),
    (30, "birth", "", 3, 1, "perivascular"),
    (40, "birth", "", 4, 2, "marrow"),
    (45, "sleep", "", 3, 1, "perivascular"),
    (50, "death", "immune", 1, 0, "marrow"),
    (60, "egress", "", 4, 2, "perivascular"),
)
MADE = SimpleNamespace(arms={"only": None}, events=LIFE, length_h=100 * 24.0)


@pytest.fixture(scope="module")
def run():
    """A niche in which every fate is met; another seed is wanted if new draws change that."""
    return ns.run_experiment(ns.load_experiment(HERE / "lively.yaml", seed=6))


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    target, now = tmp_path_factory.mktemp("lineage") / "lively", datetime.now(UTC)
    with reserve(target) as place:
        write_result(target, run, run.experiment, threads=1, started=now, ended=now, place=place)
    return target


def test_a_place_says_what_a_cell_touches(niche):  # noqa: F811
    state, world = niche
    beside_bone, beside_vessel, between = 2 * 9 + 4, 1, 7 * 9 + 4  # rows 3 and 4 are bone, voxel 0 is a vessel
    assert PLACE_NAMES[find_place(state, world, beside_bone)] == "endosteal"
    assert PLACE_NAMES[find_place(state, world, beside_vessel)] == "perivascular"
    assert PLACE_NAMES[find_place(state, world, between)] == "marrow"
    state.voxels.perivascular[beside_bone] = 1
    for phase, name in ((RESORBING, "remodelling"), (FORMING, "forming")):
        state.bmus.phase[0] = phase
        state.voxels.owner[beside_bone + 9] = 0
        assert PLACE_NAMES[find_place(state, world, beside_bone)] == f"{name}+perivascular"


def test_an_event_carries_the_conditions_of_its_voxel(niche):  # noqa: F811
    state, world = niche
    v = 2 * 9 + 4
    row = add_cell(state, 0, DTC, v, np.uint64(2**63 + 5), np.uint64(0), 7)
    state.fields.concentration[TGF_BETA, v], state.voxels.suitability[v] = 8.125e-4, 0.25
    log_cell(state, world, 3, LOG_WAKE, WAKE_FACTORS, row, np.uint64(0))
    event = list_events(state.log[: state.log_count[0]], world, 6.0).iloc[0]
    told = event[["time_h", "event", "cause", "ident", "clone", "place", "tgf_beta_nmol_per_L", "suitability"]].tolist()
    assert told == [18.0, "wake", "factors", 2**63 + 5, 7, "endosteal", 8.125e-4, 0.25]


def test_places_agree_with_what_drives_each_event(run):
    seen = set()
    for arm in run.arms.values():
        events = arm.events
        assert (events.loc[events["kind"].isin(["bmu", "dose"]), "place"] == "").all()
        assert events.loc[events["kind"].isin(["bmu", "dose"]), "suitability"].isna().all()
        tumour = events[events["kind"] == "dtc"]
        assert tumour["place"].isin(PLACE_NAMES[:-1]).all() and tumour["suitability"].between(0, 1).all()
        for row in tumour.itertuples():
            seen.add((row.event, row.cause))
            if row.event in ("arrival", "egress") or row.cause == "sprouting":
                assert row.place.endswith("perivascular")
            if row.cause == "lining":
                assert row.place.startswith("remodelling")
            if row.event == "sleep":
                assert row.place.startswith("endosteal") or row.place.endswith("perivascular")
            if row.event == "seed":  # on resting bone; where that touches an open BMU besides, it is named after the BMU
                assert row.place.startswith(("endosteal", "remodelling")) or row.place.endswith("perivascular")
            if row.cause in ("factors", "sprouting"):
                assert row.tgf_beta_nmol_per_L > 0
    assert {("wake", "factors"), ("wake", "sprouting"), ("arrival", ""), ("egress", ""), ("seed", "cycling")} <= seen


def test_lineages_agree_with_the_state_at_the_end(run):
    for name, arm in run.arms.items():
        cells, final = ns.follow(run, name).cells, arm.final_hash_arrays
        n = int(final["living"][0])
        tumour = final["cells.kind"][:n] == DTC
        modes = np.array(["dormant", "cycling"])[final["cells.mode"][:n][tumour]]
        assert cells.loc[is_alive(cells), "fate"].to_dict() == dict(zip(final["cells.ident"][:n][tumour], modes))
        assert cells["divisions"].sum() == arm.series["dtc_births"].iloc[-1]
        founders = cells[cells["generation"] == 0]
        assert founders["branch"].sum() == len(cells)
        assert founders["branch_alive"].sum() == is_alive(cells).sum() == ns.list_lesions(run, name)["cells"].sum()
        born = cells[cells["origin"] == "born"]
        assert (cells.loc[born["parent"], "generation"].to_numpy() + 1 == born["generation"]).all()
        assert (cells.loc[born["parent"], "clone"].to_numpy() == born["clone"]).all()


def test_a_life_is_told_in_sentences():
    assert str(ns.follow(MADE, "only", lesion=1)).splitlines() == [
        "arm only: cell 1, founder of clone 1",
        "  day 0: was there from the start, asleep, on resting bone lining",
        "  day 10: woke by growth factors that resorption released, in marrow, touching neither bone nor vessel "
        "(TGF-beta 20 fmol/L, suitability 0.40); the bone it lay on had been eroded",
        "  day 20 to day 30: divided 2 times",
        "  day 50: was killed by immune cells, in marrow, touching neither bone nor vessel",
        "",
        "  4 cells in all, from it on:",
        "    2 alive at the end (1 cycling, 1 dormant); 1 died (1 immune); 1 left to blood",
        "    fell asleep 1 time, woke 1 time (1 factors)",
        "    daughter 2, born day 20 in marrow, touching neither bone nor vessel: a branch of 2 cells, 1 alive at the end",
        "    daughter 3, born day 30 beside a vessel: a branch of 1 cell, 1 alive at the end",
    ]
    asleep = str(ns.follow(MADE, "only", cell=3)).splitlines()
    assert asleep[0] == "arm only: cell 3, generation 1 of clone 1"
    assert asleep[1:] == [
        "  descends from 1",
        "  day 30: was born of cell 1, beside a vessel", "  day 45: fell asleep beside a vessel",
        "  day 100, the end: alive and dormant",
    ]  # fmt: skip


def test_traits_and_vessels_are_told():
    more = make_events((12, "mutation", "adapted", 1, 0, "marrow"), (15, "sprout", "", 1, 0, "marrow"))
    events = pd.concat([LIFE, more]).sort_values("time_h", kind="stable", ignore_index=True)
    made = SimpleNamespace(arms={"only": None}, events=events, length_h=100 * 24.0)
    lines = str(ns.follow(made, "only", cell=1)).splitlines()
    assert lines[3:5] == ["  day 12: turned bone-adapted", "  day 15: vessels came to its lesion"]


def test_every_cell_of_a_run_in_which_everything_happens_can_be_told(run):
    events, rare = run.events, ["mutation", "sprout"]
    chosen = events[events["event"].isin(rare) | ((events["event"] == "death") & (events["cause"] == "hypoxia"))]
    assert set(rare) <= set(chosen["event"]) and len(chosen) > 5
    for row in chosen.itertuples():
        assert len(str(ns.follow(run, row.arm, cell=int(row.ident))).splitlines()) > 2


def test_a_line_leads_back_to_the_founder(run):
    cells = ns.follow(run, "untreated").cells
    last = int(cells["generation"].idxmax())
    line = ns.follow(run, "untreated", cell=last).line
    assert len(line) == cells.at[last, "generation"] and cells.at[line[-1], "generation"] == 0
    assert [cells.at[ident, "parent"] for ident in (last, *line)] == [*line, 0]


def test_lesions_are_listed_by_their_living_cells():
    table = ns.list_lesions(MADE, "only")
    assert table["clone"].tolist() == [1, 9] and table["cells"].tolist() == [2, 1]
    first = table.loc[1, ["founder", "cycling", "dormant", "ever", "woke_h", "route", "place"]].tolist()
    assert first == [1, 1, 1, 4, 240.0, "factors", "marrow"]
    assert np.isnan(table.loc[2, "woke_h"])


def test_lineages_as_csv_and_newick(run):
    made = ns.follow(MADE, "only", clone=1)
    assert made.newick() == "((1:20,3:70):10,(2:60,4:20):20):20;"
    whole = [ns.follow(run, name) for name in run.arms]
    table = pd.read_csv(StringIO(encode_lineages(whole, "a.CSV").decode()), dtype={"ident": "u8"}, keep_default_na=False)
    assert len(table) == sum(len(lineage.cells) for lineage in whole)
    assert set(table["fate"]) == {"died", "left", "dormant", "cycling"}
    happened = run.events[run.events["kind"] == "dtc"]["event"].value_counts()
    assert table["fate"].value_counts()[["died", "left"]].tolist() == happened[["death", "egress"]].tolist()
    trees = encode_lineages(whole, "a.nwk").decode().splitlines()
    assert len(trees) == sum((lineage.cells["generation"] == 0).sum() for lineage in whole)
    assert sum(tree.count(",") + 1 for tree in trees) == len(table)
    assert all(tree.count("(") == tree.count(")") == tree.count(",") for tree in trees)
    with pytest.raises(InputError, match=r"\.csv, \.nwk"):
        encode_lineages(whole, "a.txt")


@pytest.mark.parametrize("arm, choice, expected", [
    ("both", {}, "no arm 'both'; there is only"), ("only", {"cell": 77}, "no tumour cell 77"),
    ("only", {"cell": 2**70}, "no tumour cell"), ("only", {"clone": 2**70}, "no clone"),
    ("only", {"clone": -1}, "no clone -1"),
    ("only", {"lesion": 3}, "it has 2 living"), ("only", {"cell": 1, "clone": 1}, "exclude each other"),
])  # fmt: skip
def test_whom_nobody_knows_is_said_so(arm, choice, expected):
    with pytest.raises(InputError, match=expected):
        ns.follow(MADE, arm, **choice)


@pytest.mark.parametrize("events, expected", [
    (pd.DataFrame({"arm": [], "step": [], "time_h": []}), "no events were recorded"),
    (LIFE.drop(columns="place"), "older version"),
])  # fmt: skip
def test_events_that_cannot_be_followed_are_refused(events, expected):
    with pytest.raises(InputError, match=expected):
        ns.follow(SimpleNamespace(arms=["only"], events=events, length_h=1.0), "only")
    assert lineage_figure(SimpleNamespace(arms=["only"], events=events, length_h=1.0)) is None


def test_an_arm_without_tumour_cells_has_an_empty_lineage():
    nobody = SimpleNamespace(arms=["only"], events=LIFE.iloc[:0], length_h=1.0)
    assert len(ns.follow(nobody, "only").cells) == 0 and len(ns.list_lesions(nobody, "only")) == 0
    assert str(ns.follow(nobody, "only"))
    assert lineage_figure(nobody) is None


def test_a_drawn_cell_has_its_mother_and_no_joint_crosses_a_line(run):
    cells = ns.follow(run, "untreated").cells
    chosen = choose_cells(cells, 20)
    assert len(chosen) == 20
    assert set(chosen.loc[chosen["generation"] > 0, "parent"]) <= set(chosen.index)
    rows = place_cells(cells)
    assert sorted(rows.values()) == list(range(len(cells)))
    span = {rows[ident]: (cell["born_h"], cell["fate_h"]) for ident, cell in cells.iterrows()}
    for ident, cell in cells[cells["generation"] > 0].iterrows():
        between = range(rows[cell["parent"]] + 1, rows[ident])
        assert all(span[row][0] >= cell["born_h"] for row in between)


def test_a_line_changes_colour_where_the_cell_slept():
    cells = ns.follow(MADE, "only").cells
    assert list_spans(cells.loc[3], LIFE[LIFE["event"] == "sleep"]) == [(720, 1080, "cycling"), (1080, 2400, "dormant")]
    assert list_spans(cells.loc[9], LIFE.iloc[:0]) == [(0, 2400, "dormant")]


def test_the_figure_shows_the_largest_clone_of_each_arm(folder):
    figure = lineage_figure(ns.load(folder))
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    result = ns.load(folder)
    lesions = {arm: ns.list_lesions(result, arm) for arm in result.arms}
    assert titles == [f"{arm}: clone {found['clone'].iloc[0]}" for arm, found in lesions.items()]
    assert all(found["cells"].iloc[0] == found["cells"].max() > 1 for found in lesions.values())


def test_the_command_lists_tells_and_writes(folder, tmp_path, capsys):
    assert call("follow", folder) == 0
    text = capsys.readouterr().out
    assert "arm untreated:" in text and "arm treated:" in text and "founder" in text
    assert call("follow", folder, "--arm", "treated", "--lesion", "1", "--out", tmp_path / "one.csv") == 0
    assert "arm treated: cell" in capsys.readouterr().out
    assert pd.read_csv(tmp_path / "one.csv")["clone"].nunique() == 1
    assert call("follow", folder, "--out", tmp_path / "all.nwk") == 0
    assert (tmp_path / "all.nwk").read_text().count(";") > 40


def test_the_command_tells_of_the_arms_that_have_the_cell(folder, capsys):
    cells = {arm: set(ns.follow(ns.load(folder), arm).cells.index) for arm in ("untreated", "treated")}
    alone = min(cells["treated"] - cells["untreated"])
    assert call("follow", folder, "--cell", alone) == 0
    text = capsys.readouterr().out
    assert f"arm treated: cell {alone}," in text and f"no tumour cell {alone} ever lived in arm 'untreated'" in text


@pytest.mark.parametrize("words, expected", [
    (["--cell", "1"], "no tumour cell 1 ever lived"), (["--arm", "none"], "no arm 'none'"), (["--lesion", "0"], "--lesion"),
    (["--cell", "one"], "--cell"), (["--clone", "1", "--lesion", "1"], "exclude"), (["--out", "a.txt"], "suffix"),
    (["--out", "not/there.csv"], "does not exist"),
])  # fmt: skip
def test_a_wrong_choice_exits_2_with_one_message(folder, words, expected, capsys):
    assert call("follow", folder, *words) == 2
    captured = capsys.readouterr()
    assert expected in captured.err and "Traceback" not in captured.err and captured.out == ""


def test_the_command_leaves_the_result_as_it_is(folder, capsys):
    assert call("follow", folder, "--out", folder / "cells.csv") == 2
    assert "lies in the result" in capsys.readouterr().err
    assert ns.verify(folder) == []


def test_a_result_without_events_is_told_so(tmp_path, capsys):
    from test_store import make_experiment, make_run

    bare = make_run()
    for arm in bare.arms.values():
        arm.events = pd.DataFrame({"arm": [], "step": [], "time_h": []})
    write_result(tmp_path / "bare", bare, make_experiment())
    assert call("follow", tmp_path / "bare") == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and "no events were recorded" in lines[0]
    assert call("follow", tmp_path / "nowhere") == 2
