"""Lattice snapshots and the final state as Zarr v3 groups, one group an arm."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec
from zarr.storage import MemoryStore

from niche_sim.store.tables import array_bytes, feed

MANTISSA_BITS = 10  # relative error at most 2**-11, far below the spread between seeds
_CHUNK_BYTES = 8 << 20
_AXES = ("t", "z", "y", "x")
_UNITS = {
    "mineral": "1", "sinusoid": "1", "suitability": "1", "drug_surface": "fmol/um2", "drug_buried": "fmol/um2",
    "laid_step": "tick", "bmu": "1", "limiting_term": "number",
}  # fmt: skip


def round_mantissa(values: np.ndarray, bits: int = MANTISSA_BITS) -> np.ndarray:
    """Return values as float32 rounded to nearest even at `bits` bits of mantissa; NaN and inf are kept."""
    single = np.asarray(values, dtype=np.float32)
    drop = np.uint32(23 - bits)
    words = single.view(np.uint32)
    half = np.uint32((1 << (23 - bits - 1)) - 1)
    rounded = (words + half + ((words >> drop) & np.uint32(1))) >> drop << drop
    return np.where(np.isfinite(single), rounded.view(np.float32), single)


def _chunks(array: np.ndarray) -> tuple[int, ...]:
    # Up to 20 snapshots a chunk (a trace of one voxel stays quick), less where a snapshot is large.
    sizes = [max(1, size) for size in array.shape]
    if array.ndim == 4:
        frame = max(1, array.itemsize * sizes[2] * sizes[3])
        sizes[1] = min(sizes[1], max(1, _CHUNK_BYTES // frame))
        sizes[0] = min(sizes[0], 20, max(1, _CHUNK_BYTES // (frame * sizes[1])))
    return tuple(sizes)


def _add(group: zarr.Group, name: str, array: np.ndarray, attributes: dict[str, Any]) -> None:
    axes = list(_AXES) if array.ndim == 4 else ["t"] if name == "time_h" else None
    stored = group.create_array(
        name, shape=array.shape, dtype=array.dtype, chunks=_chunks(array), dimension_names=axes,
        compressors=BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"), attributes=attributes,
        fill_value=np.nan if array.dtype.kind == "f" else None,
    )  # fmt: skip
    if array.size:
        stored[...] = array


def _collect(content: dict[str, Any]) -> dict[str, bytes]:
    # Times last: a reader that finds a time also finds the snapshots of that time.
    keys = sorted(content, key=lambda key: ("/time_h/" in key, key))
    return {key: content[key].to_bytes() for key in keys}


def encode_snapshots(
    arms: Mapping[str, tuple[np.ndarray, Mapping[str, np.ndarray]]], *, voxel_um: float | None, exact: bool
) -> dict[str, bytes]:
    """Return the files of a Zarr group `<arm>/<name>` with axes (t, z, y, x) and `<arm>/time_h`.

    Parameters
    ----------
    arms : mapping of arm to (times in h, mapping of name to array of shape (t, z, y, x))
    voxel_um : float or None
        Voxel edge (um), written to the attributes.
    exact : bool
        Keep all bits; otherwise keep MANTISSA_BITS of the mantissa in float32.
    """
    content: dict[str, Any] = {}
    root = zarr.create_group(MemoryStore(content), attributes={"axes": list(_AXES), "voxel_um": voxel_um})
    for arm, (times, arrays) in arms.items():
        group = root.create_group(arm)
        for name, array in arrays.items():
            kept = np.asarray(array) if exact else round_mantissa(array)
            unit = _UNITS.get(name, "1" if exact else "nmol/L")
            note = {} if exact else {"mantissa_bits": MANTISSA_BITS}
            _add(group, name, kept, {"axes": list(_AXES), "unit": unit, "voxel_um": voxel_um, **note})
        _add(group, "time_h", np.asarray(times, dtype=np.float64), {"axes": ["t"], "unit": "h"})
    return _collect(content)


def encode_state(arms: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, bytes]:
    """Return the files of a Zarr group `<arm>/<array>` holding the final state, every bit kept."""
    content: dict[str, Any] = {}
    root = zarr.create_group(MemoryStore(content))
    for arm, arrays in arms.items():
        group = root.create_group(arm)
        for name, array in arrays.items():
            _add(group, name, np.asarray(array), {})
    return _collect(content)


def read_group(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """Return all arrays of a group as arm -> name -> array."""
    root = zarr.open_group(str(folder), mode="r")
    return {arm: {name: np.asarray(a[...]) for name, a in group.arrays()} for arm, group in root.groups()}


def digest_arrays(arms: Mapping[str, Mapping[str, np.ndarray]]) -> bytes:
    """Return the SHA-256 of arrays by arm and name, each with type, shape and bytes."""
    digest = hashlib.sha256()
    for arm in sorted(arms):
        for name in sorted(arms[arm]):
            array = np.asarray(arms[arm][name])
            feed(digest, arm, name, repr(array.shape), *array_bytes(array))
    return digest.digest()
