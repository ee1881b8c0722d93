"""A bench for one mechanism: the whole engine on a patch made by hand, everything else switched off.

`Lab` is a periodic patch of 20 um whose every third row is bone, a sinusoid or marrow. Numbers are set beyond their usual
ranges, fields, drug and patient are held where they are put, and every tick is the schedule's own `advance`.
"""

import numpy as np
from scipy import stats

import niche_sim as ns
from niche_sim import schedule
from niche_sim.draws import run_key
from niche_sim.host import Patient, build_forcing
from niche_sim.kinds import DORMANT, DTC, LOG_COLUMNS, N_OUTCOMES, N_SEEDED, RESORBING
from niche_sim.lattice import build_world
from niche_sim.simulation import build_rates
from niche_sim.state import add_cell, allocate_state, lay_scene

HUMAN = ns.load_parameters("human")
DAY = 24.0
Z, P = 4.2, 1e-4  # one false alarm in 37,000 comparisons of a mean, in 10,000 of a distribution
QUIET = {name: name not in schedule.PROCESSES and on for name, on in schedule.Switches._field_defaults.items()}


class Lab:
    """A patch, its rates and its ticks; `numbers` are dotted names with values in inside units (h, um, nmol/L)."""

    def __init__(
        self, on, numbers, *, seed=1, side=60, rows="marrow", opened=False, vessel=False, hours=6.0, ticks=400, drugs=None,
        courses=(), off=(), cells=None, claim=1,
    ):  # fmt: skip
        switches = QUIET | dict.fromkeys(on, True) | dict.fromkeys(off, False)
        drugs = {} if drugs is None else drugs
        self.world = build_world((1, side, side), 20.0, True)
        self.rates = build_rates(HUMAN, drugs, switches)
        for name, value in numbers.items():
            group, key = name.split(".")
            assert key in getattr(self.rates, group).dtype.names
            getattr(self.rates, group)[key] = value
        self.hours, self.key, self.done = hours, run_key(seed), 0
        self.forcing = build_forcing(courses, drugs, Patient((0.0,)), ticks, hours)
        capacity = self.world.n if cells is None else cells
        self.state = allocate_state(
            self.world, cells=capacity, bmus=1, sectors=1, claim=claim, drugs=max(1, len(drugs)), log=200_000
        )
        every_third = np.zeros((1, side, side), bool)
        every_third[:, ::3] = True
        none = np.zeros_like(every_third)
        lay_scene(
            self.state, self.world, every_third if rows == "bone" else none, every_third if rows == "sinusoid" else none
        )
        if opened:
            self.state.bmus.phase[0] = RESORBING
            self.state.voxels.owner[self.state.voxels.is_bone == 1] = 0
        if vessel:
            self.state.voxels.perivascular[self.state.voxels.is_bone == 0] = 1

    @property
    def first_rows(self):
        """The voxels of the first row of each three below bone or a sinusoid."""
        return np.flatnonzero(np.arange(self.world.n) // self.world.nx % 3 == 1)

    def grid(self, spacing):
        """Every `spacing`-th voxel along both axes."""
        y, x = np.divmod(np.arange(self.world.n), self.world.nx)
        return np.flatnonzero((y % spacing == 0) & (x % spacing == 0))

    def seed(self, voxels, mode, *, kind=DTC, trait=0, clones=None):
        """Put cells into voxels, each a clone of its own unless told."""
        for number, voxel in enumerate(voxels, start=1):
            clone = number if clones is None else int(clones[number - 1])
            ident = np.uint64(10**9 + self.state.living[0])
            row = add_cell(self.state, 0, kind, np.int64(voxel), ident, np.uint64(0), clone)
            self.state.cells.mode[row], self.state.cells.trait[row] = mode, trait
        self.state.tally[N_SEEDED] = len(self.tumour())
        return self

    def run(self, ticks):
        """Advance by so many ticks."""
        done = schedule.advance(
            self.state, self.rates, self.world, self.forcing, self.hours, self.key, 0, self.done, ticks
        )
        assert done == ticks and not self.state.fault.any()
        self.done += ticks
        return self

    def tumour(self):
        """Rows of the living tumour cells."""
        return np.flatnonzero(self.state.cells.kind[: self.state.living[0]] == DTC)

    def count(self, mode=None):
        """Number of tumour cells, or of those in a mode."""
        rows = self.tumour()
        return len(rows) if mode is None else int((self.state.cells.mode[rows] == mode).sum())

    def log(self, event, cause=None):
        """Rows of the log of an event as a dict of columns."""
        log = self.state.log[: self.state.log_count[0]]
        chosen = log[log[:, 1] == event]
        chosen = chosen if cause is None else chosen[chosen[:, 2] == cause]
        return dict(zip(LOG_COLUMNS, chosen.T))

    def hazard(self, outcome, mode=DORMANT):
        """The mean hazard (1/h) that cells of a mode met, as `risk` added it up: without scatter."""
        return self.state.risk[mode, outcome] / self.state.risk[mode, N_OUTCOMES]


def check_waiting(steps, n, hazard, hours, ticks):
    """The times (ticks) of the first events of n cells are those of a constant hazard (1/h) until `ticks`.

    An event in a tick has the probability p = 1 - exp(-h dt). The events against p times the ticks at risk, and the times in
    ten classes, the last those to whom nothing happened.
    """
    times, p = np.asarray(steps) + 1, -np.expm1(-hazard * hours)
    at_risk = times.sum() + (n - len(times)) * ticks
    assert abs(len(times) - at_risk * p) <= Z * np.sqrt(at_risk * p * (1 - p))
    law = stats.geom(p)
    edges = np.unique(law.ppf(np.linspace(0, law.cdf(ticks), 10)[1:-1])).astype(int)
    assert len(edges) > 3 and edges[-1] < ticks
    found = np.histogram(times, [0.5, *(edges + 0.5), ticks + 0.5])[0]
    chances = np.diff([0.0, *law.cdf(edges), law.cdf(ticks), 1.0])
    assert n * chances.min() > 5
    assert stats.chisquare(np.append(found, n - len(times)), n * chances).pvalue > P


def check_share(found, n, share):
    """A number out of n is binomial."""
    assert abs(found - n * share) <= Z * np.sqrt(n * share * (1 - share)) + 1e-9


def check_poisson(found, mean):
    """A number is Poisson."""
    assert abs(found - mean) <= Z * np.sqrt(mean) + 1


def check_shares(found, weights):
    """Numbers are dealt out in proportion to weights."""
    found, weights = np.asarray(found, float), np.asarray(weights, float)
    assert stats.chisquare(found, found.sum() * weights / weights.sum()).pvalue > P
