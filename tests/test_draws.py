"""Draws by address: the published vectors, the law, and that addresses do not collide."""

import numpy as np
from scipy.stats import kstest

from niche_sim.draws import child_identity, normal, philox, run_key, uniform, uniform_pair, words
from niche_sim.kernel import kernel

KNOWN = [  # counter, key, result: the known-answer file of Random123
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]  # fmt: skip


def test_philox_known_answers():
    for counter, key, expected in KNOWN:
        result = philox(*(np.uint64(c) for c in counter), *(np.uint64(k) for k in key))
        assert tuple(int(w) for w in result) == expected


@kernel
def _fill(key, out):
    for i in range(out.shape[0]):
        out[i, 0], out[i, 1] = uniform_pair(key, i, 7, 3)
        out[i, 2] = normal(key, i, 7, 4)


def test_uniform_and_normal_laws():
    out = np.empty((20_000, 3))
    _fill(run_key(11), out)
    assert kstest(out[:, 0], "uniform").pvalue > 1e-3
    assert kstest(out[:, 1], "uniform").pvalue > 1e-3
    assert kstest(out[:, 2], "norm").pvalue > 1e-3
    assert abs(np.corrcoef(out[:, 0], out[:, 1])[0, 1]) < 0.03


def test_neighbouring_addresses_do_not_collide():
    keys = [run_key(seed, patient, niche) for seed in range(6) for patient in range(3) for niche in range(3)]
    assert len({int(k) for k in keys}) == len(keys)
    seen = {
        tuple(int(w) for w in words(key, np.uint64(ident), step, stream))
        for key in keys[:4] for ident in range(6) for step in (-2, -1, 0, 1) for stream in range(6)
    }  # fmt: skip
    assert len(seen) == 4 * 6 * 4 * 6


def test_draw_does_not_depend_on_other_draws():
    key = run_key(5)
    alone = uniform(key, 42, 100, 1)
    for other in range(50):
        uniform(key, other, 100, 1)
    assert uniform(key, 42, 100, 1) == alone
    assert 0.0 < alone < 1.0


def test_daughters_of_one_mother_differ_by_step():
    key = run_key(5)
    children = {int(child_identity(key, np.uint64(9), step, 7)) for step in range(1000)}
    assert len(children) == 1000
