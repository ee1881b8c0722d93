"""Images of OME-Zarr 0.5 for napari: one level of axes t, c, z, y, x with units, named channels, and labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zarr
from zarr.storage import MemoryStore

AXES = ("t", "c", "z", "y", "x")
COLOURS = ("FFFFFF", "56B4E9", "E69F00", "009E73", "CC79A7", "F0E442", "0072B2", "D55E00")


def find_step(times_h: np.ndarray) -> float:
    """Return the time (h) between snapshots that are evenly apart, 0 if they are not."""
    steps = np.diff(times_h)
    return float(steps[0]) if len(steps) and np.allclose(steps, steps[0]) else 0.0


def _describe(name: str, times_h: np.ndarray, spacing: Sequence[float]) -> dict[str, Any]:
    """Return the multiscale metadata; times that are not evenly apart cannot be scaled and keep their indices."""
    step = find_step(times_h)
    time: dict[str, str] = {"name": "t", "type": "time"} | ({"unit": "hour"} if step else {})
    space = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in AXES[2:]]
    scale = [step or 1.0, 1.0, *map(float, spacing)]
    # OME-Zarr puts the middle of the first voxel at the origin; here its corner is.
    shift = [float(times_h[0]) if step else 0.0, 0.0, *(0.5 * edge for edge in spacing)]
    moved = [{"type": "scale", "scale": scale}, {"type": "translation", "translation": shift}]
    level = {"path": "0", "coordinateTransformations": moved}
    return {"name": name, "axes": [time, {"name": "c", "type": "channel"}, *space], "datasets": [level]}


def _name_channels(channels: Sequence[str], volumes: np.ndarray) -> dict[str, Any]:
    """Return names, colours and limits of contrast of the channels."""
    found = []
    for number, name in enumerate(channels):
        values = volumes[:, number]
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        top = high if high > low else low + 1.0
        window = {"min": low, "max": top, "start": low, "end": top}
        colour = COLOURS[number % len(COLOURS)]
        found.append({"label": name, "color": colour, "active": number == 0, "window": window})
    return {"channels": found, "rdefs": {"model": "color"}}


def _add(group: zarr.Group, values: np.ndarray) -> None:
    array = group.create_array(
        "0", shape=values.shape, dtype=values.dtype, chunks=(1, 1, *values.shape[2:]), dimension_names=list(AXES)
    )
    array[...] = values


def encode_image(
    name: str, channels: Mapping[str, np.ndarray], times_h: np.ndarray, spacing: Sequence[float],
    labels: Mapping[str, tuple[np.ndarray, Mapping[int, tuple[str, str]]]] | None = None,
) -> dict[str, bytes]:  # fmt: skip
    """Return the files of an image, by their paths in its folder.

    Parameters
    ----------
    name : str
    channels : mapping of str to ndarray, shape (t, z, y, x)
    times_h : ndarray
        Times (h); they are also in the attribute `niche_sim`.
    spacing : sequence of float
        Edges of a voxel along z, y and x (um).
    labels : mapping of str to (ndarray of int, shape (t, z, y, x), mapping of label to (name, colour)), optional
    """
    content: dict[str, Any] = {}
    volumes = np.stack([np.asarray(volume, "f4") for volume in channels.values()], axis=1)
    about = {"version": "0.5", "multiscales": [_describe(name, times_h, spacing)]}
    attributes = {
        "ome": about | {"omero": _name_channels(list(channels), volumes)},
        "niche_sim": {"time_h": [float(time) for time in times_h], "channels": list(channels)},
    }  # fmt: skip
    root = zarr.create_group(MemoryStore(content), attributes=attributes)
    _add(root, volumes)
    if labels:
        held = root.create_group("labels", attributes={"ome": {"version": "0.5", "labels": list(labels)}})
        for key, (values, named) in labels.items():
            shown = [
                {"label-value": value, "rgba": [*bytes.fromhex(colour[1:]), 255]} for value, (_, colour) in named.items()
            ]
            named_as = [{"label-value": value, "name": label} for value, (label, _) in named.items()]
            image = {"colors": shown, "properties": named_as, "source": {"image": "../../"}}
            own = {"version": "0.5", "multiscales": [_describe(key, times_h, spacing)], "image-label": image}
            _add(held.create_group(key, attributes={"ome": own}), values[:, None])
    return {path: buffer.to_bytes() for path, buffer in sorted(content.items())}
