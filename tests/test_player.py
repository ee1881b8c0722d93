"""Players and the Mesa model: the same run by hand, back and forth, and into other futures."""

from pathlib import Path

import mesa
import numpy as np
import pytest
from mesa.agent import AgentSet

import niche_sim as ns
from niche_sim.errors import InputError
from niche_sim.kinds import KIND_NAMES
from niche_sim.model import NicheModel, Osteoclast, TumourCell
from niche_sim.player import advance_all, collect_run, open_players
from niche_sim.simulation import Run, run_experiment
from niche_sim.store import hash_run

LIVELY = Path(__file__).parent / "lively.yaml"
SHORT = {"time.spin_up": "10 d"}


def lively(length="20 d", arms=None, **more):
    """Return the lively experiment with some of its arms."""
    mapping = ns.load_experiment(str(LIVELY), sets=SHORT, length=length).resolved()
    mapping["arms"] = {name: arm for name, arm in mapping["arms"].items() if arms is None or name in arms}
    return ns.build_experiment(mapping | more)


@pytest.fixture(scope="module")
def whole():
    return run_experiment(lively())


@pytest.fixture(scope="module")
def opened():
    """Players at time 0, to be forked only."""
    return open_players(lively())


def fresh(opened, arm):
    return opened[arm].fork(opened[arm].experiment, arm)


def hash_of(player):
    return hash_run(collect_run(player.experiment, [player]))


def hash_arm(run, arm):
    return hash_run(Run(run.experiment, {arm: run.arms[arm]}))


def test_ticks_one_by_one_are_the_run(whole, opened):
    """Single ticks, strides, and two arms in threads give the hash of the run."""
    player = fresh(opened, "treated")
    while player.advance(1):
        pass
    assert player.step == player.steps == 80
    assert hash_of(player) == hash_arm(whole, "treated")
    players = [fresh(opened, arm) for arm in opened]
    for ticks in (7, 1, 30, 1000):
        advance_all(players, ticks)
    assert hash_run(collect_run(players[0].experiment, players)) == hash_run(whole)


def test_back_and_forth_is_the_run(whole, opened):
    """Rewinding to any tick and going on changes nothing, and forgets what came after."""
    player = fresh(opened, "untreated")
    player.timeline.every = 12
    player.advance(50)
    state = player.state.cells.copy()
    player.seek(13)
    assert player.step == 13 and player.series["step"].max() <= 13
    assert len(player.events) == 0 or player.events["step"].max() <= 13
    player.seek(0)
    player.seek(50)
    assert np.array_equal(state, player.state.cells)
    player.seek(80)
    assert hash_of(player) == hash_arm(whole, "untreated")


def test_checkpoints_keep_to_their_memory(opened):
    """Every second goes when there are too many; the first and the last stay, and all can be gone back to."""
    player = fresh(opened, "untreated")
    player.timeline.every = 2
    player.timeline.most_bytes = 6 * player.timeline.bytes
    player.advance(80)
    steps = player.timeline.steps
    assert 2 < len(steps) < 12 and steps[0] == 0 and player.timeline.bytes <= player.timeline.most_bytes
    player.seek(steps[1])
    assert player.step == steps[1]


def test_a_fork_shares_the_past_and_has_its_own_future(whole, opened):
    """A fork without a change is the run; one with a change is the run until then, and does not touch the first."""
    player = fresh(opened, "untreated")
    player.advance(33)
    same = player.fork(player.experiment, "untreated")
    mapping = player.experiment.resolved()
    mapping["arms"]["untreated"]["regimen"] = [{"drug": "pamidronate", "dose": "90 mg", "start": "10 d", "route": "iv"}]
    other = player.fork(ns.build_experiment(mapping), "untreated")
    assert "pamidronate" not in player.experiment.drugs
    for each in (same, other, player):
        each.seek(80)
    assert hash_of(same) == hash_of(player) == hash_arm(whole, "untreated")
    assert other.state.drug.sum() > 0 == player.state.drug.sum()
    alone = run_experiment(other.experiment).arms["untreated"]
    for name, array in alone.final_hash_arrays.items():
        assert np.array_equal(array, other.result().final_hash_arrays[name], equal_nan=array.dtype.kind == "f"), name
    other.seek(20)
    player.seek(20)
    assert np.array_equal(other.state.cells, player.state.cells)


def test_a_fork_needs_the_same_past(opened):
    mapping = lively().resolved() | {"seed": 1}
    with pytest.raises(InputError, match="another seed"):
        opened["untreated"].fork(ns.build_experiment(mapping), "untreated")


def test_unknown_arm():
    with pytest.raises(InputError, match="no arm 'tretaed'; there is untreated, treated"):
        open_players(lively(), ["tretaed"])


def test_who_waits_for_the_compiler_is_told(monkeypatch):
    heard = []
    monkeypatch.setattr("niche_sim.player.is_compiled", lambda: False)
    open_players(lively("1 d"), progress=lambda event, **info: heard.append(event))
    assert heard[0] == "compiling" and "advance" in heard


# ---------------------------------------------------------------- Mesa


@pytest.fixture(scope="module")
def model():
    made = NicheModel(lively("5 d", ["treated"]))
    made.run_for("3 d")
    return made


def test_mesa_steps_give_the_hash_of_the_command_line(tmp_path):
    """`NicheModel` stepped to its end has the hash that `niche-sim run` and `hash` print."""
    from niche_sim.store import hash_result, write_result

    experiment = lively("5 d", ["treated"])
    write_result(tmp_path / "out", run_experiment(experiment), experiment)
    model = NicheModel(experiment)
    assert isinstance(model, mesa.Model)
    while model.running:
        model.step()
    assert model.steps == 20 and model.time_h == 120
    assert model.hash() == hash_result(tmp_path / "out")
    model.step()
    assert model.time_h == 120


def test_agents_are_light_views(model):
    """Cells are agents of Mesa by kind, read only, made once a tick and never registered."""
    assert model.agents is model.agents and isinstance(model.agents, AgentSet)
    assert len(model.agents) == int(model.player.state.living[0])
    assert not mesa.Agent._ids.get(model)
    clasts = model.agents_by_type[Osteoclast]
    assert len(clasts) == len(model.select("osteoclast")) == model.datacollector.model_vars["osteoclasts"][-1]
    assert {cell.kind for cell in model.agents} <= set(KIND_NAMES)
    tumour = model.select("dtc", "dormant")
    assert all(isinstance(cell, TumourCell) and cell.state == "dormant" and cell.age_h >= 0 for cell in tumour)
    assert len(tumour) == model.datacollector.model_vars["dormant"][-1] > 0
    cell = next(iter(tumour))
    with pytest.raises(AttributeError, match="read-only view"):
        cell.pos = (0, 0)
    with pytest.raises(AttributeError, match="cannot be removed"):
        cell.remove()
    with pytest.raises(InputError, match="kinds are dtc"):
        model.select("osteoclasts")
    x, y = cell.pos
    world = model.player.run.plan.world
    row = int(np.flatnonzero(model.player.state.cells.ident == np.uint64(cell.unique_id))[0])
    assert model.player.state.cells.voxel[row] == y * world.nx + x


def test_views_follow_the_tick():
    model = NicheModel(lively("5 d", ["treated"]))
    before = model.agents
    model.step()
    assert model.agents is not before


def test_data_collection_to_pandas(model):
    frame = model.datacollector.get_model_vars_dataframe()
    assert list(frame["time_h"]) == [6.0 * k for k in range(13)]
    assert {"dormant", "cycling", "osteoclasts", "macrophages"} <= set(frame)
    last = model.series.iloc[-1]
    assert frame.loc[frame["time_h"] == last["time_h"], "osteoclasts"].item() == last["osteoclasts"]
    reporters = {"share": lambda m: m.time_h / 120}
    own = NicheModel(lively("5 d", ["treated"]), reporters=reporters, agent_reporters={"age_h": "age_h"})
    own.step()
    assert own.datacollector.get_model_vars_dataframe()["share"].iloc[-1] == 0.05
    assert own.datacollector.get_agent_vars_dataframe()["age_h"].notna().all()


def test_seeding_is_reproducible_and_mesas_generator_is_not_the_engines():
    one, two = (NicheModel(str(LIVELY), seed=3, settings=SHORT) for _ in range(2))
    other = NicheModel(str(LIVELY), rng=4, settings=SHORT)
    one.random.random()
    one.rng.random()
    for made in (one, two, other):
        made.run_for(4)
    assert one.hash() == two.hash() != other.hash()
    with pytest.raises(InputError, match="not both"):
        NicheModel(str(LIVELY), seed=3, rng=3)


@pytest.mark.parametrize("duration", ["7 h", "-1 d", "soon", 0.5, float("nan")])
def test_run_for_refuses_what_is_no_number_of_ticks(model, duration):
    with pytest.raises(InputError):
        model.run_for(duration)


def test_batch_run():
    rows = mesa.batch_run(
        NicheModel, {"experiment": [lively("2 d", ["treated"])], "seed": [1, 2]}, max_steps=4, number_processes=1,
        display_progress=False, data_collection_period=-1,
    )  # fmt: skip
    assert [row["seed"] for row in rows] == [1, 2] and all(row["time_h"] == 6 * row["Step"] > 0 for row in rows)
    assert all(row["osteoclasts"] >= 0 for row in rows)


def test_a_closed_model_lets_go():
    import gc
    import weakref

    model = NicheModel(lively("2 d", ["treated"]))
    player = weakref.ref(model.player)
    gc.disable()
    try:
        model.close()
        del model
        assert player() is None
    finally:
        gc.enable()


def test_grid_for_mesas_drawing(model):
    from matplotlib.figure import Figure
    from mesa.visualization.components import AgentPortrayalStyle
    from mesa.visualization.mpl_space_drawing import draw_space

    pytest.importorskip("solara", reason="Mesa's visualisation needs the extra: pip install 'niche-sim[view]'")
    ax = Figure().subplots()
    draw_space(model.grid, lambda cell: AgentPortrayalStyle(color="black", size=5), ax=ax)
    assert sum(len(part.get_offsets()) for part in ax.collections) >= len(model.agents)
