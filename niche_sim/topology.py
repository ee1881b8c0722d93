"""Has a cavity cut its trabecula through? Pieces of bone and of marrow around it, before and after, in its own window.

The window is every voxel within 50 um of an emptied one. A strut or plate is cut through where the cavity parts bone
that hung together, or joins marrow that was apart (in 3-D a hole in a plate does only the second). Only pieces that
reach out of the window count: crumbs left inside a cavity are no parts of a trabecula.
"""

import numpy as np

from niche_sim.kernel import inner
from niche_sim.lattice import displace


@inner
def is_emptied(state, slot, v):
    """Tell whether voxel `v` is marrow that the BMU `slot` opened and has not refilled."""
    return state.voxels.owner[v] == slot and state.voxels.is_bone[v] == 0 and state.voxels.debt[v] > 0


@inner
def _is_of(state, slot, v, bone, filled):
    """Tell whether `v` is bone (or marrow), with the cavity filled or as it is."""
    solid = state.voxels.is_bone[v] == 1 or (filled and is_emptied(state, slot, v))
    return solid == bone


@inner
def _mark_window(state, world, slot, mark):
    """Write `mark` into the label of every voxel of the window."""
    for k in range(state.bmus.claims[slot]):
        v = state.claimed[slot, k]
        if is_emptied(state, slot, v):
            for i in range(world.around.shape[0]):
                w = displace(world, v, world.around[i, 0], world.around[i, 1], world.around[i, 2])
                if w >= 0:
                    state.voxels.claim[w] = mark


@inner
def _own_label(state, world, v):
    """Return the first label of a voxel: unique, and above `2 + n` where it touches what is outside the window."""
    for face in range(2 * world.ndim):
        w = world.neighbours[v, face]
        if w >= 0 and state.voxels.claim[w] == 0:
            return np.uint64(2 + world.n + v)
    return np.uint64(2 + v)


@inner
def _visit(state, world, slot, bone, filled, task):
    """Go through the window: 0 gives first labels, 1 takes the highest of the neighbours, 2 counts pieces."""
    claim = state.voxels.claim
    count = 0
    for k in range(state.bmus.claims[slot]):
        v = state.claimed[slot, k]
        if not is_emptied(state, slot, v):
            continue
        for i in range(world.around.shape[0]):
            w = displace(world, v, world.around[i, 0], world.around[i, 1], world.around[i, 2])
            if w < 0 or not _is_of(state, slot, w, bone, filled):
                continue
            if task == 0:
                claim[w] = _own_label(state, world, w)
            elif task == 1:
                best = claim[w]
                for face in range(2 * world.ndim):
                    x = world.neighbours[w, face]
                    if x >= 0 and claim[x] > best and _is_of(state, slot, x, bone, filled):
                        best = claim[x]
                if best > claim[w]:
                    claim[w] = best
                    count += 1
            elif claim[w] == np.uint64(2 + world.n + w):
                claim[w] = np.uint64(1)  # counted: the window is visited more than once
                count += 1
    return count


@inner
def count_pieces(state, world, slot, bone, filled):
    """Return the pieces of bone (or marrow) that reach out of the window of a cavity, filled or as it is."""
    _mark_window(state, world, slot, np.uint64(1))
    _visit(state, world, slot, bone, filled, 0)
    while _visit(state, world, slot, bone, filled, 1) > 0:
        pass
    count = _visit(state, world, slot, bone, filled, 2)
    _mark_window(state, world, slot, np.uint64(0))
    return count


@inner
def is_cut_through(state, world, slot):
    """Tell whether the cavity of a BMU parts bone that hung together, or joins marrow that was apart."""
    if count_pieces(state, world, slot, True, False) > count_pieces(state, world, slot, True, True):
        return True
    return count_pieces(state, world, slot, False, False) < count_pieces(state, world, slot, False, True)
