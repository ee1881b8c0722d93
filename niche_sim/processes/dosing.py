"""Dosing: what the host's skeleton takes up in this tick arrives at the bone of the niche, from doses and from blood.

The host's compartments (host.py) give what doses put into bone per area of skeleton, u (fmol/um2) in one tick. The niche
receives u A, A its bone surface at time 0: its share of the skeleton is fixed, so that what is dosed is found again.
Drug that left bone, b (fmol; plasma and tissues), moves by the same compartments, b -> T b, T exact for a tick: some
returns to bone and the rest is excreted. Both go to a pool that `bone_drug` binds to exposed mineral.
"""

from niche_sim.kernel import inner

READS = ("share", "host.uptake", "host.circulation")
WRITES = ("drug_ledger", "body")


@inner
def circulate(state, host, d):
    """Move drug `d` that left bone through plasma and tissues for a tick; what bone takes up again joins the pool."""
    body, table = state.body, host.circulation
    tissues = body.shape[1]
    total, returned, excreted = 0.0, 0.0, 0.0
    for j in range(tissues):
        total += body[d, j]
        returned += table[d, tissues, j] * body[d, j]
        excreted += table[d, tissues + 1, j] * body[d, j]
    if total <= 0.0:
        return
    # At most four compartments: their old amounts fit into four numbers, and kernels allocate nothing.
    a, b, c, e = body[d, 0], body[d, 1], body[d, 2], body[d, 3]
    for i in range(tissues):
        body[d, i] = table[d, i, 0] * a + table[d, i, 1] * b + table[d, i, 2] * c + table[d, i, 3] * e
    state.drug_ledger[d, 2] += excreted
    state.drug_ledger[d, 3] += returned


@inner
def run(state, rates, world, host, tick):
    """Add what reaches the bone in this tick to the pool of each drug; `dosing` off stops what comes from doses."""
    for d in range(host.uptake.shape[0]):
        if rates.switches.dosing:
            amount = host.uptake[d] * state.share[0]
            state.drug_ledger[d, 0] += amount
            state.drug_ledger[d, 3] += amount
        circulate(state, host, d)
