"""Endocrine therapy: tumour cells with oestrogen receptor divide and wake more slowly.

division x G, each of the four routes of waking x K, with G = 1 - r (1 - growth) s and K = 1 - r (1 - waking) s of the host:
s is the effect in her body at that time, r the receptor of her tumour (`hormone.receptor`), growth and waking what the drug
leaves. What the drug does to bone goes by oestradiol and is not switched off with it.
"""

from niche_sim.kernel import inner
from niche_sim.kinds import DIVIDE, DTC, WAKE_SPONTANEOUS, WAKE_SPROUTING

READS = ("living", "cells.kind", "host.hormone_growth", "host.hormone_waking")
WRITES = ("hazard",)


@inner
def leave_growth(rates, host):
    """Return the share of division that is left."""
    return host.hormone_growth if rates.switches.endocrine_therapy else 1.0


@inner
def run(state, rates, world, host, tick):
    """Lower the hazards of division and waking, which were written before."""
    for row in range(state.living[0]):
        if state.cells.kind[row] == DTC:
            state.hazard[row, DIVIDE] *= host.hormone_growth
            for route in range(WAKE_SPONTANEOUS, WAKE_SPROUTING + 1):
                state.hazard[row, route] *= host.hormone_waking
