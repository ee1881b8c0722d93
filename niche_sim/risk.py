"""What tumour cells are exposed to, added up over time: the events to be expected, not those that a draw let happen.

Of N cells a wake or death is rare; the mean of their hazards is known at every tick. A cell that is still there with the
chance w adds to the sums, for each event k of a tick of length dt, w f h_k dt and to the time at risk w f dt, where
f = (1 - exp(-H)) / H is the share of the tick that it is to live, H the sum of its h dt. Their ratio is the mean hazard of
any time, without the scatter of counts. So lesions of which a patient has a handful can be drawn from what the many of a
niche are exposed to.

While fates are drawn w is 1. Of sentinels (`tumour_fates` off) it is exp(-sum of H so far): what would long have gone from a
pit does not count there for ever, and the mean is that of the cells that would be left. Nothing here changes the simulation.
"""

import math

from niche_sim.kernel import inner
from niche_sim.kinds import (
    CYCLING,
    DIE_HYPOXIA,
    DIVIDE,
    DTC,
    GROWTH_RISK,
    N_OUTCOMES,
    N_SEEDED,
    SPARE_RISK,
)
from niche_sim.processes.death import write_hazards
from niche_sim.processes.division import find_hazard
from niche_sim.processes.endocrine import leave_growth
from niche_sim.signals import DAY_H, begins_day, ticks_per_day
from niche_sim.state import is_free

STRIDE = 7  # of the places for growth one in so many is looked at each day


@inner
def count_cells(state, rates, tick):
    """Add the hazards of this tick to the sums of dormant and of cycling cells."""
    cells, risk = state.cells, state.risk
    for row in range(state.living[0]):
        if cells.kind[row] != DTC:
            continue
        passed = 0.0
        for k in range(N_OUTCOMES):
            passed += state.hazard[row, k] * tick.hours
        weight = math.exp(-cells.clock[row]) * (-math.expm1(-passed) / passed if passed > 0.0 else 1.0)
        mode = cells.mode[row]
        for k in range(N_OUTCOMES):
            risk[mode, k] += weight * state.hazard[row, k] * tick.hours
        risk[mode, N_OUTCOMES] += weight * tick.hours
        if not rates.switches.tumour_fates:
            cells.clock[row] += passed


@inner
def survey_growth(state, rates, world, host, tick):
    """Once a day, add the hazards of division and death that a cycling cell would have at free places of marrow."""
    if tick.step < 0 or state.tally[N_SEEDED] == 0 or not begins_day(tick.step, tick.hours):
        return
    risk, voxels = state.risk, state.voxels
    day = tick.step // ticks_per_day(tick.hours)
    for v in range(day % STRIDE, world.n, STRIDE):
        if not is_free(voxels, v):
            continue
        if rates.switches.death:
            write_hazards(state, rates, world, host, v, CYCLING, 0, risk[SPARE_RISK])
            for k in range(DIE_HYPOXIA):
                risk[GROWTH_RISK, k] += risk[SPARE_RISK, k] * DAY_H
        if rates.switches.division:
            risk[GROWTH_RISK, DIVIDE] += find_hazard(state, rates, world, host, v, 0) * leave_growth(rates, host) * DAY_H
        risk[GROWTH_RISK, N_OUTCOMES] += DAY_H
