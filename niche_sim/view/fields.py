"""Suitability and the fields at the last recorded time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, PowerNorm
from matplotlib.figure import Figure

from niche_sim.store import Result
from niche_sim.view import palette
from niche_sim.view.common import find_voxel_um, middle, name_time
from niche_sim.view.lattice import draw_scale_bar
from niche_sim.view.palette import FAINT

FIELD_LABELS = {
    "tgf_beta": "TGF-β", "igf1": "IGF-1", "rankl": "RANKL", "opg": "OPG", "pthrp": "PTHrP", "cxcl12": "CXCL12",
    "free_drug": "free drug",
}  # fmt: skip


def _last_fields(result: Result, arms: Sequence[str]) -> dict[str, list[np.ndarray]]:
    """Return the last snapshot of suitability and of every field, a list over arms of (z, y, x); empty fields left out."""
    found = {}
    if all("suitability" in result.map_names(arm) and len(result.map_times_h(arm)) for arm in arms):
        found["suitability"] = [result.maps(arm, "suitability")[-1] for arm in arms]
    for name in [n for n in FIELD_LABELS if n in result.field_names(arms[0])]:
        found[name] = [_blank_bone(result.fields(arm, name)[-1], _last_bone(result, arm)) for arm in arms]
    return {name: volumes for name, volumes in found.items() if max(float(np.nanmax(v)) for v in volumes) > 0}


def _blank_bone(volume: np.ndarray, bone: np.ndarray | None) -> np.ndarray:
    """Return a field without its values inside bone, which is painted over and must not set the scale."""
    return volume if bone is None or bone.min() >= 0.5 else np.where(bone >= 0.5, np.nan, volume)


def _flatten(volume: np.ndarray, depth: bool) -> np.ndarray:
    filled = np.where(np.isnan(volume), -1.0, volume)
    plane = filled.max(axis=0) if depth else middle(filled)
    return np.where(plane < 0, np.nan, plane)


def _draw_field(ax: Axes, volume: np.ndarray, bone: np.ndarray | None, depth: bool, name: str, top: float) -> Any:
    colours = palette.clear_map(palette.SUITABILITY if name == "suitability" else palette.FIELD, palette.BONE)
    scale = PowerNorm(1.0 if name == "suitability" else 0.5, 0, top)
    image = ax.imshow(_flatten(volume, depth), cmap=colours, norm=scale, interpolation="nearest")
    if bone is not None and not depth and bone.min() < 0.5 < bone.max():
        ax.contour(middle(bone), levels=[0.5], colors=["white"], linewidths=0.7)
    ax.set(xticks=[], yticks=[])
    return image


def _paint_vessels(ax: Axes, result: Result, arm: str) -> None:
    """Paint the sinusoids of the middle plane over what has no suitability."""
    if "sinusoid" in result.map_names(arm):
        plane = middle(result.maps(arm, "sinusoid")[-1])
        ax.imshow(np.where(plane, 1.0, np.nan), cmap=ListedColormap([palette.SINUSOID]), interpolation="nearest")


def _last_bone(result: Result, arm: str) -> np.ndarray | None:
    """Return the mineral at the time of the last fields, where a map was recorded then."""
    times = result.map_times_h(arm) if "mineral" in result.map_names(arm) else np.zeros(0)
    same = len(times) and np.isclose(times[-1], result.field_times_h(arm)[-1])
    return result.maps(arm, "mineral")[-1] if same else None


def field_sheet(result: Result) -> Figure | None:
    """Return suitability and the fields at the last recorded time, a row an arm (two for a stack); None without."""
    arms = [arm for arm in result.arms if result.field_names(arm) and len(result.field_times_h(arm))]
    found = _last_fields(result, arms) if arms else {}
    if not found:
        return None
    planes, down, across = next(iter(found.values()))[0].shape
    stack = planes > 1
    rows = [(i, depth) for i in range(len(arms)) for depth in ((False, True) if stack else (False,))]
    figure = Figure(figsize=(2.5 * len(found) + 0.5, 2.55 * len(rows) + 1.4), layout="constrained")
    axes = figure.subplots(len(rows), len(found), squeeze=False)
    for column, (name, volumes) in enumerate(found.items()):
        top = 1.0 if name == "suitability" else max(float(np.nanmax(volume)) for volume in volumes)
        for row, (i, depth) in enumerate(rows):
            ax = axes[row][column]
            image = _draw_field(ax, volumes[i], _last_bone(result, arms[i]), depth, name, top)
            if name == "suitability" and not depth:
                _paint_vessels(ax, result, arms[i])
            if column == 0:
                ax.set_ylabel(f"{arms[i]}\n" + ("highest of all planes" if depth else "middle plane") * stack, fontsize=11)
        axes[0][column].set_title(FIELD_LABELS.get(name, name), fontsize=12)
        bar = figure.colorbar(image, ax=list(axes[:, column]), location="bottom", shrink=0.85, aspect=22, pad=0.02)
        bar.set_label("0 to 1" if name == "suitability" else "nmol/L, square-root scale", fontsize=9, color=FAINT)
        bar.set_ticks([0.0, top / 4, top], labels=["0", f"{top / 4:.2g}", f"{top:.2g}"])
        bar.outline.set_visible(False)
    draw_scale_bar(axes[0][0], across, down, find_voxel_um(result))
    moment = name_time(float(result.field_times_h(arms[0])[-1]))
    figure.suptitle(f"Niche suitability and fields at {moment}", fontsize=14, fontweight="bold", x=0.01, ha="left")
    return figure
