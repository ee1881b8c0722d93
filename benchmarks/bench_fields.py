"""Time the field solver against scipy in one run: `python benchmarks/bench_fields.py`."""

import platform
import time

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import splu

from niche_sim.fields import solve_steady
from niche_sim.lattice import build_world
from niche_sim.redblack import folded_shape


def assemble(uptake, is_bone, neighbours, coupling, decay):
    """Return the same equations as a sparse matrix."""
    n = len(uptake)
    rows, columns, values = [np.arange(n)], [np.arange(n)], []
    diagonal = decay + uptake
    for face in range(neighbours.shape[1]):
        w = neighbours[:, face]
        linked = (is_bone == 0) & (is_bone[w] == 0)
        diagonal = diagonal + coupling * linked
        rows.append(np.flatnonzero(linked))
        columns.append(w[linked])
        values.append(np.full(linked.sum(), -coupling))
    return coo_matrix((np.concatenate([diagonal, *values]), (np.concatenate(rows), np.concatenate(columns)))).tocsc()


def time_both(n, repeats):
    """Return milliseconds a solution, ours and of splu, each time after a tenth of the sources moved."""
    rng = np.random.default_rng(1)
    decay = 21.0
    is_bone = (rng.random(n * n) < 0.17).astype(np.uint8)
    world = build_world((1, n, n), 20.0, True)
    secretion = rng.random(n * n) * (rng.random(n * n) < 0.05) * (is_bone == 0)
    uptake, c = np.zeros(n * n), np.zeros(n * n)
    arguments = (uptake, is_bone, world, 46800.0, decay, 0.0, 1e-4, 20_000, np.empty(folded_shape(1, n, n)))
    solve_steady(c.copy(), secretion, *arguments)
    ours, theirs, sweeps = [], [], 0
    for _ in range(repeats):
        moved = rng.permutation(np.flatnonzero(secretion))[: n * n // 200]
        secretion[moved] = rng.random(len(moved))
        start = time.perf_counter()
        sweeps += solve_steady(c, secretion, *arguments)[0]
        ours.append(time.perf_counter() - start)
        start = time.perf_counter()
        splu(assemble(uptake, is_bone, world.neighbours, 117.0, decay)).solve(secretion)
        theirs.append(time.perf_counter() - start)
    return 1e3 * np.array(ours), 1e3 * np.array(theirs), sweeps / repeats


def main():
    """Print milliseconds a solution, nanoseconds a voxel and sweep with all that is around it, and the ratio to splu."""
    print(f"{platform.processor() or platform.machine()}, error <= 1e-4 of the maximum, red-black SOR and splu")
    for n, repeats in ((100, 20), (200, 10), (500, 3)):
        ours, theirs, sweeps = time_both(n, repeats)
        here, there = np.median(ours), np.median(theirs)
        each = 1e6 * here / sweeps / n**2
        print(f"{n} x {n}: {here:.2f} ms ({each:.2f} ns); splu {there:.1f} ms; ratio {there / here:.1f}")


if __name__ == "__main__":
    main()
