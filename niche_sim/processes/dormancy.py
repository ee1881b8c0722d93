"""Dormancy: a tumour cell falls asleep on resting lining or a stable vessel, and wakes by four routes.

exit = (spontaneous + factors H P + sprouting V H) x (1 - restraint L) + lining (while a BMU has opened it under the cell)

L is contact with resting lining, V with a vessel, H = x^n / (1 + x^n), x = TGF-beta / K1 + IGF-1 / K2 the dose of what
resorption released: TGF-beta reaches some 50 um from a pit, IGF-1 some 300 um, so that pits nearby and the turnover of a
whole neighbourhood count. TGF-beta held in a quiescent niche restrains, released TGF-beta drives (Ghajar et al. 2013;
Lawson et al. 2015): restraint and H are separate terms, not one sign. P is how far RANKL primes the cell for
them (`prime_tumour`): ovariectomy of mice raises the hazard tenfold, far more than turnover, and zoledronate takes that
excess away, but nothing from mice with ovaries (Ottewell et al. 2014): it takes both. The half-life of a competent lesion is
at least 12 years (Willis et al. 2010). Only dormant cells wake, only cycling cells fall asleep.
"""

from typing import NamedTuple

from niche_sim.kernel import inner, kernel
from niche_sim.kinds import (
    CYCLING,
    DORMANT,
    DTC,
    IGF1,
    SLEEP,
    TGF_BETA,
    WAKE_FACTORS,
    WAKE_LINING,
    WAKE_SPONTANEOUS,
    WAKE_SPROUTING,
)
from niche_sim.signals import hill
from niche_sim.surface import has_quiescent_lining, prime_tumour, touches_bmu

READS = (
    "living", "cells.voxel", "cells.kind", "cells.mode", "voxels.owner", "voxels.is_bone", "voxels.perivascular",
    "fields.concentration", "bmus.phase", "reference", "host.rankl_factor", "host.opg_factor", "host.rankl_block",
)  # fmt: skip
WRITES = ("hazard",)


class Rates(NamedTuple):
    """Hazards of dormancy entry and exit; units in UNITS."""

    exit_rate: float
    factor_rate: float
    tgf_beta_half: float
    igf1_half: float
    factor_exponent: float
    rankl_half: float
    rankl_exponent: float
    lining_rate: float
    sprouting_rate: float
    restraint: float
    entry_lining: float
    entry_vessel: float


UNITS = {
    "exit_rate": "1/h", "factor_rate": "1/h", "tgf_beta_half": "nmol/L", "igf1_half": "nmol/L", "factor_exponent": "1",
    "rankl_half": "1", "rankl_exponent": "1", "lining_rate": "1/h", "sprouting_rate": "1/h", "restraint": "1",
    "entry_lining": "1/h", "entry_vessel": "1/h",
}  # fmt: skip


@kernel
def exit_hazards(d, tgf_beta, igf1, primed, lined, opened, vessel):
    """Return the hazards (1/h) of the four routes: spontaneous, factors, lining, sprouting.

    Parameters
    ----------
    d : Rates
    tgf_beta, igf1 : float
        Local active TGF-beta and free IGF-1, nmol/L.
    primed : float
        By RANKL, 0 to 1.
    lined, opened, vessel : bool
        Contact with resting lining, with an open BMU, with a vessel.
    """
    free = 1.0 - d.restraint if lined else 1.0
    response = hill(tgf_beta / d.tgf_beta_half + igf1 / d.igf1_half, 1.0, d.factor_exponent)
    return (
        d.exit_rate * free,
        d.factor_rate * response * primed * free,
        d.lining_rate if opened else 0.0,
        d.sprouting_rate * response * free if vessel else 0.0,
    )


@inner
def run(state, rates, world, host, tick):
    """Write the hazards of waking and of falling asleep of every tumour cell."""
    cells, d, on = state.cells, rates.dormancy, rates.switches
    for row in range(state.living[0]):
        if cells.kind[row] != DTC:
            continue
        v = cells.voxel[row]
        lined = has_quiescent_lining(state, world, v)
        opened = touches_bmu(state, world, v)
        vessel = state.voxels.perivascular[v] == 1
        if cells.mode[row] == DORMANT:
            c, primed = state.fields.concentration, prime_tumour(state, rates, host, v)
            routes = exit_hazards(d, c[TGF_BETA, v], c[IGF1, v], primed, lined and not opened, opened, vessel)
            state.hazard[row, WAKE_SPONTANEOUS] = routes[0] if on.wake_spontaneous else 0.0
            state.hazard[row, WAKE_FACTORS] = routes[1] if on.wake_factors else 0.0
            state.hazard[row, WAKE_LINING] = routes[2] if on.wake_lining else 0.0
            state.hazard[row, WAKE_SPROUTING] = routes[3] if on.wake_sprouting else 0.0
        elif cells.mode[row] == CYCLING:
            entry = d.entry_lining if lined and not opened else 0.0
            state.hazard[row, SLEEP] = entry + (d.entry_vessel if vessel else 0.0)
