"""Random numbers by address: a draw is a function of (key, identity, step, stream).

Philox4x32-10 (Salmon et al. 2011, doi:10.1145/2063384.2063405). The 64-bit run key becomes the Philox key; the
counter holds identity (64 bits), step (32 bits) and stream (32 bits). Nothing is ever consumed in sequence, so
the order of cells, threads, chunks and arms cannot change a draw.
"""

import math

import numpy as np

from niche_sim.kernel import kernel

_M0 = np.uint64(0xD2511F53)
_M1 = np.uint64(0xCD9E8D57)
_W0 = np.uint64(0x9E3779B9)
_W1 = np.uint64(0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_LOW_SIGNED = np.int64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_ROUNDS = 10


@kernel
def philox(c0, c1, c2, c3, k0, k1):
    """Return the four 32-bit words of Philox4x32-10 as uint64.

    Parameters
    ----------
    c0, c1, c2, c3 : uint64
        The counter, each below 2**32.
    k0, k1 : uint64
        The key, each below 2**32.
    """
    for _ in range(_ROUNDS):
        p0 = _M0 * c0
        p1 = _M1 * c2
        c0, c1, c2, c3 = (p1 >> _SHIFT) ^ c1 ^ k0, p1 & _LOW, (p0 >> _SHIFT) ^ c3 ^ k1, p0 & _LOW
        k0 = (k0 + _W0) & _LOW
        k1 = (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@kernel
def words(key, identity, step, stream):
    """Return the four words at an address: uint64 key and identity, integer step and stream."""
    key = np.uint64(key)
    identity = np.uint64(identity)
    # A step before the start (spin-up) is negative; it wraps to the top of the 32-bit range.
    return philox(
        identity & _LOW,
        identity >> _SHIFT,
        np.uint64(np.int64(step) & _LOW_SIGNED),
        np.uint64(stream) & _LOW,
        key & _LOW,
        key >> _SHIFT,
    )


@kernel
def to_uniform(high, low):
    """Return a float64 in (0, 1) with 53 random bits; never 0 and never 1."""
    mantissa = np.float64(high >> np.uint64(5)) * 67108864.0 + np.float64(low >> np.uint64(6))
    return min((mantissa + 0.5) / 9007199254740992.0, 1.0 - 2.0**-53)


@kernel
def uniform(key, identity, step, stream):
    """Return one uniform draw in (0, 1) at an address."""
    a, b, _, _ = words(key, identity, step, stream)
    return to_uniform(a, b)


@kernel
def uniform_pair(key, identity, step, stream):
    """Return two independent uniform draws in (0, 1) at an address."""
    a, b, c, d = words(key, identity, step, stream)
    return to_uniform(a, b), to_uniform(c, d)


@kernel
def rank(key, identity, step, stream):
    """Return a 64-bit rank at an address: the higher one wins a contested voxel."""
    a, b, _, _ = words(key, identity, step, stream)
    return (a << _SHIFT) | b


@kernel
def _fill(keys, identities, steps, stream, found):
    for i in range(found.size):
        found[i] = uniform(keys[i], identities[i], steps[i], stream)


def draw_uniforms(keys, identities, steps, stream: int) -> np.ndarray:
    """Return uniform draws at many addresses: arrays of keys, identities and steps that broadcast together."""
    shapes = np.broadcast_arrays(
        np.asarray(keys, dtype=np.uint64), np.asarray(identities, dtype=np.uint64), np.asarray(steps, dtype=np.int64)
    )
    found = np.empty(shapes[0].shape)
    _fill(*(np.ascontiguousarray(part).ravel() for part in shapes), stream, found.ravel())
    return found


@kernel
def normal(key, identity, step, stream):
    """Return one standard normal draw at an address (Box and Muller 1958)."""
    u, v = uniform_pair(key, identity, step, stream)
    return math.sqrt(-2.0 * math.log(u)) * math.cos(2.0 * math.pi * v)


@kernel
def child_identity(key, parent, step, stream):
    """Return the identity of a new cell: a hash of its parent's (or birthplace's) and the step."""
    return rank(key, parent, step, stream)


def run_key(seed: int, patient: int = 0, niche: int = 0) -> np.uint64:
    """Return the 64-bit key of one niche of one patient of one seed."""
    mask = (1 << 32) - 1
    a, b, _, _ = philox(
        np.uint64(seed & mask), np.uint64((seed >> 32) & mask), np.uint64(patient & mask), np.uint64(niche & mask),
        np.uint64(0x6E696368), np.uint64(0x655F7369),
    )  # the key spells "niche_si": runs can never share a block with cells, whose key is this result
    return np.uint64((int(a) << 32) | int(b))
