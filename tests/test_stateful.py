"""A niche under any sequence of step, checkpoint, resume, dose, added and removed cells, other chunks: invariants hold."""

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import niche_sim as ns
from niche_sim import simulation as sim
from niche_sim.host import build_forcing
from niche_sim.kinds import CYCLING, DORMANT, DTC, FULL, MINERAL_FORMED, MINERAL_REMOVED, MINERAL_START
from niche_sim.schedule import advance
from niche_sim.state import add_cell, copy_state, flatten, is_free, rebuild, remove_cell
from niche_sim.store.checkpoints import decode, encode

DRUG = [{"drug": "zoledronate", "dose": "4 mg"}]
BUILT = {}


def build():
    """Return plan, rates and a start, made once: every example begins from a copy."""
    if not BUILT:
        plan = sim.make_plan(ns.build_experiment({
            "name": "machine", "seed": 9, "scene": "trabecula_small", "patient": "postmenopausal",
            "time": {"length": "200 d", "spin_up": "20 d"}, "population": {"dormant_dtc": 5, "cycling_dtc": 5},
            "arms": {"only": {"regimen": DRUG}},
        }))  # fmt: skip
        rates = sim.build_rates(plan.experiment.parameters, plan.drugs, plan.experiment.switches)
        forcing = build_forcing([], plan.drugs, plan.patient, plan.steps, plan.hours)
        BUILT.update(plan=plan, rates=rates, forcing=forcing, start=sim.spin_up(plan))
    return BUILT["plan"], BUILT["rates"], BUILT["forcing"], copy_state(BUILT["start"])


class Niche(RuleBasedStateMachine):
    """One niche and what is known about it."""

    @initialize()
    def begin(self):
        self.plan, self.rates, self.forcing, self.state = build()
        self.step, self.kept, self.dosed = 0, None, 0.0

    def run(self, state, ticks):
        done = advance(
            state, self.rates, self.plan.world, self.forcing, self.plan.hours, self.plan.key, 0, self.step, ticks
        )  # fmt: skip
        assert done == ticks
        state.log[: state.log_count[0]] = 0  # as the recorder leaves it
        state.log_count[0] = 0

    @precondition(lambda self: self.step < 700)
    @rule(ticks=st.integers(1, 24))
    def advance_some(self, ticks):
        self.run(self.state, ticks)
        self.step += ticks

    @precondition(lambda self: self.step < 700)
    @rule(ticks=st.integers(2, 12), cut=st.integers(1, 11))
    def any_chunks_give_equal_bits(self, ticks, cut):
        other = copy_state(self.state)
        self.run(self.state, ticks)
        first, start = min(cut, ticks - 1), self.step
        self.run(other, first)
        self.step += first
        self.run(other, ticks - first)
        self.step = start + ticks
        for name, array in flatten(other).items():
            assert np.array_equal(array, flatten(self.state)[name], equal_nan=array.dtype.kind == "f"), name

    @rule()
    def keep(self):
        self.kept = (encode(flatten(self.state), {"step": self.step}), self.dosed)

    @precondition(lambda self: self.kept is not None)
    @rule()
    def resume(self):
        arrays, header = decode(self.kept[0])
        self.state, self.step, self.dosed = rebuild(arrays), header["step"], self.kept[1]

    @rule(amount=st.floats(1e-3, 1e3))
    def dose(self, amount):
        self.state.drug_ledger[0, 0] += amount
        self.state.drug_ledger[0, 3] += amount
        self.dosed += amount

    @rule(place=st.integers(0, 1599), ident=st.integers(2**40, 2**41))
    def add(self, place, ident):
        living = self.state.cells["ident"][: self.state.living[0]]
        if is_free.py_func(self.state.voxels, place) and ident not in living:
            row = add_cell(self.state, self.step, DTC, np.int64(place), np.uint64(ident), np.uint64(0), 0)
            self.state.cells["mode"][row] = CYCLING

    @precondition(lambda self: ((self.state.cells["kind"] == DTC)[: self.state.living[0]]).any())
    @rule(which=st.integers(0, 10**6))
    def remove(self, which):
        rows = np.flatnonzero((self.state.cells["kind"] == DTC)[: self.state.living[0]])
        remove_cell(self.state, int(rows[which % len(rows)]))

    @invariant()
    def cells_and_places_agree(self):
        n, cells, voxels = self.state.living[0], self.state.cells, self.state.voxels
        rows = np.arange(n)
        assert len(np.unique(cells["ident"][:n])) == n
        assert (voxels["occupant"][cells["voxel"][:n]] == rows).all()
        assert (voxels["occupant"] >= 0).sum() == n
        inside = cells["voxel"][:n]
        assert not voxels["sinusoid"][inside].any()
        assert set(np.unique(cells["mode"][:n])) <= {DORMANT, CYCLING}

    @invariant()
    def ledgers_close(self):
        tally, mineral = self.state.tally, self.state.voxels["mineral"]
        assert mineral.sum(dtype=np.int64) == tally[MINERAL_START] + tally[MINERAL_FORMED] - tally[MINERAL_REMOVED]
        assert mineral.min() >= 0 and mineral.max() <= FULL
        deposited, swallowed, excreted, pool = self.state.drug_ledger[0]
        assert deposited == pytest.approx(self.dosed, rel=1e-12, abs=1e-12)
        held = self.state.drug[0].sum() + self.state.body[0].sum()
        assert held + swallowed + excreted + pool == pytest.approx(deposited, rel=1e-9, abs=1e-12)
        assert (self.state.fields.concentration >= 0).all()


TestNiche = Niche.TestCase
TestNiche.settings = settings(
    max_examples=12, stateful_step_count=25, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip


@pytest.mark.deep
class TestNicheAtLength(Niche.TestCase):
    """The same, two hundred times."""

    settings = settings(
        max_examples=200, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
    )
