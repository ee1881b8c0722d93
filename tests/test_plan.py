"""The bias that `plan` predicts for a tick is the one that the law of a tick has."""

import numpy as np
import pytest

import niche_sim as ns
from niche_sim import plan
from niche_sim.errors import ResourceError
from niche_sim.plan import predict_growth_bias
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
    need = plan.sum_memory(experiment, 2, size["voxels"], size["state_bytes"], size["lattice_bytes"])
    assert plan.forecast_memory(experiment, 2) == pytest.approx(need, rel=0.1)


def test_pictures_by_an_interval_are_counted_as_if_listed():
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
