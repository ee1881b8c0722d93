"""Several sweeps over a red-black lattice in one pass through memory, with the values of sweeps one after the other.

A lattice that is larger than the processor's cache comes from memory at every sweep, which then costs more than the
arithmetic. But what half-step k (of one colour) does in a slab (some rows in 2-D, a plane in 3-D) needs no more than
what half-step k - 1 left in that slab and the two beside it. So a front walks along the slabs: where half-step 0 relaxes
slab t, half-step k relaxes slab t - k, which half-step k - 1 has just left behind, and a last one measures the error. No
more than a dozen slabs are in use at a time.

On a ring the front has no beginning: half-step k leaves out k slabs at either end, and these come after it, half-step by
half-step. Every update reads what it would read in sweeps one after the other, so the results have the same bits.
"""

from niche_sim.kernel import inner
from niche_sim.redblack import lay_board, measure, relax, take_largest

ROWS = 4  # of a slab in 2-D: few enough that a dozen slabs stay in the cache, and more than one saves calls


@inner
def _visit(folded, board, omega, halves, k, slab, depth):
    """Relax one colour of a slab, or measure both after the last half-step."""
    for r in range(slab * depth, min((slab + 1) * depth, board[0] * board[1])):
        if k < halves:
            relax(folded, board, k % 2, r, omega)
        else:
            measure(folded, board, 0, r)
            measure(folded, board, 1, r)


@inner
def sweep(folded, world, omega, sweeps):
    """Sweep so many times, one colour after the other, and return the largest error bound and concentration, nmol/L."""
    board, halves = lay_board(world), 2 * sweeps
    depth = ROWS if world.nz == 1 else world.ny
    slabs = -(-world.nz * world.ny // depth)
    for front in range(slabs):
        for k in range(min(halves, front // 2) + 1):
            _visit(folded, board, omega, halves, k, front - k, depth)
    for k in range(halves + 1):
        for left_out in range(min(2 * k, slabs)):
            _visit(folded, board, omega, halves, k, (slabs - k + left_out) % slabs, depth)
    return take_largest(folded)
