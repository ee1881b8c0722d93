"""The bias that `plan` predicts for a tick is the one that the law of a tick has."""

from pathlib import Path

import numpy as np
import pytest

import niche_sim as ns
from niche_sim import plan
from niche_sim.errors import ResourceError
from niche_sim.plan import predict_growth_bias
from niche_sim.study import design, running, runs
from niche_sim.study.clusters import LocalWorkers, RunningScheduler
from niche_sim.study.dask_executor import DaskExecutor
from niche_sim.study.design import FACTOR_BYTES, PLANNED_BYTES, POINT_BYTES, build_design
from niche_sim.study.execute import Processes, Serial, Threads
from niche_sim.study.gate import load_study
from niche_sim.study.runs import DRIVER_BYTES
from niche_sim.submodels import population


@pytest.mark.parametrize(("birth", "death"), [(0.06, 0.004), (0.3, 0.1), (0.1, 0.3)])
def test_halving_the_tick_halves_the_predicted_bias(birth, death):
    """To first order the bias is -(b + d) dt / 2 + (b - d) dt / -2: its next term is below a tenth of it here."""
    biases = [predict_growth_bias(birth / 24, death / 24, hours) for hours in (6.0, 3.0, 1.5)]
    for whole, half in zip(biases, biases[1:]):
        assert abs(half) < abs(whole)
        assert half == pytest.approx(whole / 2, rel=0.1)


def test_the_predicted_bias_is_the_one_that_ticks_have():
    """10,000 replicates: growth rate from ticks of a day within 4.2 standard errors of the prediction."""
    spec = population.Spec.model_validate({
        "model": "population", "name": "t", "rates": {"birth": "0.2 /d", "death": "0.05 /d"}, "initial": {"cycling": 50},
        "method": "tick", "tick": "24 h", "length": "10 d", "every": "10 d", "replicates": 10_000,
    })  # fmt: skip
    row = population.run(spec, lambda fraction: None)["moments"].query("state == 'total'").iloc[-1]
    rate = 0.15 * (1 + predict_growth_bias(0.2 / 24, 0.05 / 24, 24.0))
    assert abs(row["mean"] - 50 * np.exp(10 * rate)) < 4.2 * row["sem"]
    assert abs(row["mean"] - 50 * np.exp(10 * 0.15)) > 20 * row["sem"]


@pytest.mark.parametrize("scene", ["trabecula_small", "trabecula_postmenopausal"])
def test_the_forecast_is_near_what_the_built_state_needs(scene):
    """By arithmetic alone, without the scene: within a tenth of the sum over the arrays of a real state."""
    experiment = ns.load_experiment("e00_zoledronate_niche", sets={"scene": scene, "population.dormant_dtc": "8"})
    size = plan.measure_state(experiment)
    need = plan.sum_niche(experiment, 2, size["voxels"], size["state_bytes"], size["lattice_bytes"])
    assert plan.forecast_niche(experiment, size["voxels"], 2) == pytest.approx(need, rel=0.1)


def test_pictures_by_an_interval_are_counted_as_if_listed(monkeypatch):
    monkeypatch.setattr("niche_sim.kernel.is_compiled", lambda: True)  # else the compiler's memory hides that of pictures
    sets = {"scene": "trabecula_small", "population.dormant_dtc": "8", "time.length": "25 d"}
    listed = [6 * 24 * k for k in range(5)] + [600]  # the end is a picture too
    needs = [
        plan.estimate(ns.load_experiment("e00_zoledronate_niche", sets=sets | {"record.pictures": text}), 1)
        for text in ("6 d", str([f"{hours} h" for hours in listed]).replace("'", '"'), "false")
    ]
    assert needs[0] == needs[1]
    for name in ("memory_bytes", "disk_bytes"):
        assert needs[0][name] > needs[2][name]


def test_what_does_not_fit_is_refused_before_it_is_built(monkeypatch):
    sets = {"scene": "trabecula_3d", "scene.size": '["5 mm", "5 mm", "5 mm"]'}
    experiment = ns.load_experiment("e00_zoledronate_niche", sets=sets)
    monkeypatch.setattr(plan, "find_memory", lambda: 8 << 30)
    with pytest.raises(ResourceError, match=r"needs about \d+\.\d GB of memory, 8\.6 GB are free"):
        plan.check_memory(experiment)
    monkeypatch.setattr(plan, "find_memory", lambda: 8 << 40)
    plan.check_memory(experiment)


# ---------------------------------------------------------------- studies

STUDY = Path(__file__).with_name("tiny_study.yaml")


@pytest.fixture
def forecast(tmp_path):
    """A function that forecasts the tiny study with settings, and other factors."""

    def ask(*sets, factors="", jobs=1, **more):
        text = STUDY.read_text()
        if factors:
            start, end = text.index("design:"), text.index("replicates:")
            text = text[:start] + "design: {kind: grid}\nfactors: " + factors + "\n" + text[end:]
        (tmp_path / "study.yaml").write_text(text)
        study = load_study(tmp_path / "study.yaml", sets=sets)
        points = build_design(study)
        return runs.forecast_memory(study, points, jobs, runs.survey_points(study, points), **more)

    return ask


def test_the_forecast_of_a_study_grows_with_its_points_its_runs_and_its_niche(forecast):
    """The driver holds design and index, each worker one niche."""
    small, points, replicates = forecast(), forecast("design.points=106"), forecast("replicates=52")
    assert small["worker"] == points["worker"] == replicates["worker"]
    factors, arms = 2, 2
    assert points["driver"] - small["driver"] == 100 * (POINT_BYTES + FACTOR_BYTES * factors + arms * 2 * PLANNED_BYTES)
    assert replicates["driver"] - small["driver"] == 6 * arms * 50 * PLANNED_BYTES
    doses = forecast(factors='{dose: {at: arms.treated.regimen.0.dose, values: ["1 mg", "2 mg"]}}')
    assert doses["driver"] == DRIVER_BYTES + 2 * (POINT_BYTES + FACTOR_BYTES) + 2 * 2 * 2 * PLANNED_BYTES
    assert forecast("scene=trabecula_fine")["worker"] - small["worker"] > 30e6
    threads = forecast(jobs=4, together=True)
    assert threads["worker"] == 0 and threads["driver"] < small["driver"] + small["worker"]


def test_a_study_takes_the_memory_of_its_widest_point(forecast):
    mixed = '{scene: {values: [trabecula_fine, trabecula_small]}, time.length: {values: ["2 d", "2 yr"]}}'
    assert forecast(factors=mixed)["worker"] == forecast("scene=trabecula_fine", "time.length=2 yr")["worker"]


@pytest.mark.parametrize(
    ("executor", "needs"), [(Processes(3), 3), (Threads(3), 0.5), (Serial(), 0.5), (DaskExecutor(LocalWorkers(2)), 2)]
)
def test_a_study_that_does_not_fit_is_refused_and_leaves_nothing(executor, needs, forecast, tmp_path, monkeypatch):
    """What is there is one byte short; elsewhere (a scheduler that is there) only the driver counts."""
    study, each = load_study(STUDY), forecast()
    monkeypatch.setattr(runs, "SHORTEST_BATCH_S", 0.01)  # more batches than workers
    monkeypatch.setattr(running, "find_memory", lambda: int(needs * each["worker"]))
    with pytest.raises(ResourceError, match=r"runs side by side need about .* of memory, .* are free; use fewer --jobs"):
        running.run_study(study, tmp_path / "s", executor)
    assert not (tmp_path / "s").exists()
    elsewhere = DaskExecutor(RunningScheduler("tcp://127.0.0.1:1"))
    monkeypatch.setattr(running, "find_memory", lambda: each["driver"])
    points = build_design(study)
    running._check_memory(study, points, runs.survey_points(study, points), elsewhere, 9)
    monkeypatch.setattr(running, "find_memory", lambda: each["driver"] + each["worker"])
    running._check_memory(study, points, runs.survey_points(study, points), Processes(1024), 1)  # starts as many as batches


def test_tables_that_do_not_fit_are_refused_before_they_are_made(monkeypatch):
    study = load_study(STUDY, sets=["design.points=1000000"])
    monkeypatch.setattr(design, "find_memory", lambda: 1 << 30)
    monkeypatch.setattr(design, "sample_unit", lambda study: pytest.fail("a design was drawn"))
    with pytest.raises(
        ResourceError, match=r"the tables of 1,000,000 points need about 3\.6 GB of memory, 1\.1 GB are free"
    ):
        build_design(study)
