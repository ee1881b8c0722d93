"""The stage of the application: arms in step, rewound, branched, taken along; results replayed."""

from pathlib import Path

import numpy as np
import pytest

import niche_sim as ns
from niche_sim.config.editing import change_parameters, change_regimen, change_switches, give_dose
from niche_sim.errors import InputError
from niche_sim.kinds import DTC
from niche_sim.player import open_players
from niche_sim.simulation import run_experiment
from niche_sim.store import hash_run, load, write_result
from niche_sim.view.app.stage import LivingStage, RecordedStage, find_cell, find_row, tell_life

LIVELY = Path(__file__).parent / "lively.yaml"


def lively(**record):
    mapping = ns.load_experiment(str(LIVELY), sets={"time.spin_up": "10 d"}, length="20 d").resolved()
    return ns.build_experiment(mapping | {"record": dict(mapping["record"]) | record})


@pytest.fixture(scope="module")
def opened():
    return open_players(lively())


@pytest.fixture
def stage(opened):
    """A stage at time 0 whose players are the test's own."""
    return LivingStage(lively(), {arm: player.fork(player.experiment, arm) for arm, player in opened.items()})


def cells(stage, arm):
    return np.sort(np.asarray(stage.players[arm].state.cells[: stage.players[arm].state.living[0]]["ident"]))


def test_arms_go_in_step_and_a_step_is_a_stride(stage):
    stage.stride = 6
    stage.step()
    assert stage.steps == 1 and stage.tick == 6 and {player.step for player in stage.players.values()} == {6}
    stage.seek(2)
    assert stage.tick == 2 and stage.running
    stage.advance(1000)
    assert stage.tick == stage.last_tick == 80 == stage.reached
    stage.step()
    assert not stage.running


def test_a_change_at_the_front_continues_the_arm(stage):
    stage.advance(20)
    edit = give_dose(stage.experiment.resolved(), "untreated", 120.0, "pamidronate", "90 mg", "iv")
    assert stage.adopt("untreated", edit.mapping) == "untreated" and stage.arms == ["untreated", "treated"]
    stage.advance(20)
    assert stage.players["untreated"].state.drug.sum() > 0
    run, experiment = stage.collect()
    again = run_experiment(experiment)
    for arm in stage.arms:
        for name, array in again.arms[arm].final_hash_arrays.items():
            same = np.array_equal(array, run.arms[arm].final_hash_arrays[name], equal_nan=array.dtype.kind == "f")
            assert same, (arm, name)
        assert again.arms[arm].series.equals(run.arms[arm].series) and again.arms[arm].events.equals(run.arms[arm].events)


def test_a_change_in_the_past_is_a_branch_beside_the_arm(stage):
    stage.advance(40)
    seen = cells(stage, "treated")
    stage.seek(12)
    edit = change_switches(stage.experiment.resolved(), "treated", 72.0, {"division": False})
    assert stage.adopt("treated", edit.mapping) == "treated_2"
    assert stage.shown == ["treated", "treated_2"] and stage.born == {"treated_2": ("treated", 12)}
    assert np.array_equal(cells(stage, "treated"), cells(stage, "treated_2"))
    second = change_parameters(stage.experiment.resolved(), "treated_2", 72.0, {"dormancy.factor_rate": "0.1 /d"})
    assert stage.adopt("treated_2", second.mapping) == "treated_2"
    stage.advance(28)
    assert np.array_equal(cells(stage, "treated"), seen)
    births = {arm: (stage.events(arm)["event"] == "birth").sum() for arm in stage.shown}
    assert births["treated"] > births["treated_2"]
    assert [mark.time_h for mark in stage.marks("treated_2") if mark.kind == "branch"] == [72.0]
    assert [mark.text for mark in stage.marks("treated_2") if mark.kind == "change"] == ["dormancy.factor_rate, division"]
    run, experiment = stage.collect()
    assert hash_run(run) == hash_run(run_experiment(experiment))


def test_a_branch_without_a_change_is_a_twin(stage):
    stage.advance(10)
    name = stage.branch("untreated")
    stage.advance(30)
    assert np.array_equal(cells(stage, "untreated"), cells(stage, name))


def test_the_yaml_comes_to_the_state_that_is_shown(stage, tmp_path):
    """The exported file, run from the command line's own loader, has the hash of the collected result."""
    stage.show(["treated"])
    stage.advance(13)
    path = tmp_path / "mine.yaml"
    path.write_text(stage.write_experiment())
    run, experiment = stage.collect()
    assert list(experiment.arms) == ["treated"]
    assert hash_run(run_experiment(ns.load_experiment(str(path)))) == hash_run(run)


def test_nothing_to_take_along_at_time_0(stage):
    with pytest.raises(InputError, match="run at least one tick"):
        stage.write_experiment()


def test_extend(stage):
    stage.advance(60)
    with pytest.raises(InputError, match="have been run to 15 d already"):
        stage.extend("10 d")
    stage.extend("30 d")
    assert stage.last_tick == 120 and stage.tick == 60
    stage.seek(10)
    stage.advance(200)
    assert stage.tick == 120


def test_a_shorter_run_forgets_nothing_that_was_to_come(stage):
    whole = stage.experiment.resolved()["arms"]
    for length in ("4 d", "1 d"):
        stage.extend(length)
    assert len(stage.experiment.resolved()["arms"]["treated"]["regimen"]) < len(whole["treated"]["regimen"])
    stage.extend("20 d")
    assert stage.experiment.resolved()["arms"] == whole
    stage.extend("4 d")
    edit = change_regimen(stage.experiment.resolved(), "treated", 0.0, [])
    stage.adopt("treated", edit.mapping)
    stage.extend("20 d")  # what was changed meanwhile stays as it was changed
    assert stage.experiment.resolved()["arms"]["treated"].get("regimen", []) == []
    assert "100 yr" in stage.check_length("101 yr") and "<" not in stage.check_length("101 yr")


def test_arms_are_brought_to_the_time_that_is_shown(stage):
    stage.show(["untreated"])
    stage.advance(30)
    stage.show(["untreated", "treated"])
    assert stage.players["treated"].step == 30


def test_facts_cells_and_lives(stage):
    stage.advance(30)
    player = stage.players["treated"]
    frame = stage.frame("treated")
    row = int(np.flatnonzero(frame.cells.kind == DTC)[0])
    z, y, x, ident = (int(getattr(frame.cells, name)[row]) for name in ("z", "y", "x", "ident"))
    facts = stage.facts("treated", z, y, x)
    assert facts[0].startswith(("dormant DTC", "cycling DTC")) and str(ident) in facts[0]
    assert any(line.startswith("niche suitability") for line in facts)
    assert find_cell(frame.cells, z, y, x, stage.shape) == ident and find_row(frame.cells, ident) == row
    assert find_row(frame.cells, 1) is None
    empty = frame.cells._replace(x=frame.cells.x + 1000)
    assert find_cell(empty, z, y, x, (1, 10_000, 10_000)) is None
    assert any("day" in line for line in tell_life(stage, "treated", ident))
    other = int(frame.cells.ident[frame.cells.kind != DTC][0])
    assert "lives of tumour cells are told" in tell_life(stage, "treated", other)[0]
    assert "not in this arm at this time" in tell_life(stage, "treated", 1)[0]
    bone = np.argwhere(frame.maps["mineral"] > 0.99)[0]
    assert stage.facts("treated", *map(int, bone))[0] == "bone, 100 % of a full voxel"
    vessel = np.argwhere(frame.maps["sinusoid"])[0]
    assert stage.facts("treated", *map(int, vessel))[0] == "sinusoid"
    drugged = np.argwhere((player.state.voxels.exposed > 0) & (player.state.drug.sum(axis=0) > 0))[0][0]
    world = player.run.plan.world
    told = stage.facts("treated", 0, int(drugged) // world.nx, int(drugged) % world.nx)
    assert any("on its surface" in line for line in told)


def test_a_result_is_replayed_without_simulating(tmp_path):
    experiment = lively(pictures=["0 h", "5 d", "10 d", "20 d"])
    write_result(tmp_path / "out", run_experiment(experiment), experiment)
    stage = RecordedStage(load(tmp_path / "out"))
    assert (stage.tick, stage.last_tick, stage.living) == (0, 80, False)
    assert stage.advance(1) and stage.tick == 20
    stage.seek(79)
    assert stage.tick == 40 and not stage.advance(1) or stage.tick == 80
    stage.seek(40)
    frame = stage.frame("treated")
    assert frame.time_h == 240.0 and len(frame.cells.ident)
    assert stage.events("treated")["step"].max() <= 40
    assert {mark.kind for mark in stage.marks("treated")} >= {"checkpoint", "dose"}
    assert "suitability" in stage.overlays() and "tgf_beta" not in stage.overlays()
    row = int(np.flatnonzero(frame.cells.kind == DTC)[0])
    assert "DTC" in stage.facts("treated", *(int(getattr(frame.cells, axis)[row]) for axis in "zyx"))[0]
    living = stage.simulate()
    assert living.tick == 40 and living.shown == stage.shown
    assert np.array_equal(np.sort(frame.cells.ident), np.sort(living.frame("treated").cells.ident))
    assert np.array_equal(frame.maps["mineral"], living.frame("treated").maps["mineral"])


def test_a_result_without_pictures(tmp_path):
    experiment = lively(pictures=[])
    write_result(tmp_path / "out", run_experiment(experiment), experiment)
    with pytest.raises(InputError, match="no pictures were recorded"):
        RecordedStage(load(tmp_path / "out"))
