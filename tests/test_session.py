"""A session: what is asked for is done in order, and means what was on the page when it was asked for."""

import threading
from pathlib import Path

import pytest

solara = pytest.importorskip("solara", reason="the application needs solara: pip install 'niche-sim[view]'")

import niche_sim as ns  # noqa: E402
from niche_sim.config.editing import change_switches, give_dose  # noqa: E402
from niche_sim.simulation import run_experiment  # noqa: E402
from niche_sim.store import hash_run  # noqa: E402
from niche_sim.view.app.session import Session  # noqa: E402

LIVELY = Path(__file__).parent / "lively.yaml"


def lively(**sets):
    return ns.load_experiment(str(LIVELY), sets={"time.spin_up": "1 d", "time.length": "20 d"} | sets)


@pytest.fixture
def session():
    session = Session()
    stop = session.start()
    session.open(lively())
    finish(session)
    yield session
    stop()
    assert session.trouble.value == ""


def finish(session):
    """Wait until all that was asked for is done."""
    done = threading.Event()
    session.ask(done.set)
    assert done.wait(240)


def give(arm, moment_h):
    return lambda held: give_dose(held, arm, moment_h, "pamidronate", "90 mg", "iv")


def switch(arm, name):
    return lambda held: change_switches(held, arm, 0.0, {name: False})


def test_a_dose_is_given_at_the_moment_that_was_shown_though_time_went_on(session):
    session.step(2)
    session.adopt("treated", 0, give("treated", 0.0))
    finish(session)
    stage = session.stage
    assert stage.shown == ["treated", "treated_2"] and stage.tick == 0 and stage.born["treated_2"] == ("treated", 0)
    session.step(2)
    finish(session)
    run, experiment = stage.collect()
    assert hash_run(run) == hash_run(run_experiment(experiment))
    column = list(stage.players["treated_2"].run.plan.drugs).index("pamidronate")
    assert stage.players["treated_2"].state.drug[column].sum() > 0


def test_changes_in_quick_succession_all_count(session):
    for name in ("division", "migration", "egress"):
        session.adopt("treated", 0, switch("treated", name))
    session.branch("untreated", 0)
    session.adopt("treated", 0, give("treated", 0.0))  # as if it had been asked for on the page before the branch
    finish(session)
    experiment = session.stage.experiment
    assert list(experiment.arms) == ["untreated", "treated", "untreated_2"]
    assert not any(experiment.arm_switches("treated")[name] for name in ("division", "migration", "egress"))
    assert experiment.arms["treated"].regimen[-1].drug == "pamidronate"


def test_a_change_that_became_impossible_is_told(session):
    session.extend("1 d")
    session.adopt("treated", 0, lambda held: give_dose(held, "treated", 240.0, "pamidronate", "90 mg", "iv"))
    finish(session)
    assert "not inside the run" in session.trouble.value
    session.trouble.value = ""


def test_one_step_is_a_day_whatever_the_tick(session):
    assert session.stride.value == 4
    session.open(lively(**{"time.tick": "1 h"}))
    finish(session)
    assert session.stride.value == 24


def test_an_arm_that_lags_behind_is_known_to_lag(session):
    """So that going ahead with it is drawn on the way and can be interrupted."""
    session.show(["untreated"])
    session.step(10)
    session.step(-10)
    session.show(["treated"])
    finish(session)
    assert session.stage.known == 0 and session.stage.reached == 40


def test_several_changes_of_a_rewound_arm_make_one_branch(session):
    """Clicked before the page shows the branch, they belong to it; clicked after, to the arm that is named."""
    session.step(3)
    session.seek(0)
    finish(session)
    for name in ("division", "death", "arrival"):
        session.adopt("treated", 0, switch("treated", name))
    finish(session)
    stage = session.stage
    assert stage.arms == ["untreated", "treated", "treated_2"]
    off = {name for name, on in stage.experiment.arms["treated_2"].switches.items() if not on}
    assert off == {"division", "death", "arrival"} and not stage.experiment.arms["treated"].switches
    session.adopt("treated", 0, switch("treated", "migration"))
    finish(session)
    assert stage.arms[-1] == "treated_3" and set(stage.experiment.arms["treated_3"].switches) == {"migration"}
