"""How the values of an overlay become colours: its limits, its colour bar, its ticks."""

from functools import cache
from typing import NamedTuple

import numpy as np

from niche_sim.errors import InputError
from niche_sim.view import palette
from niche_sim.view.frame import Frame, Overlay, find_overlay

STEPS = 120  # colours of an overlay
DECADES = 2.5  # of a logarithmic scale, at most
_SAMPLE = 40_000  # values that limits are found from

# From the colour of marrow, or of bone, to dark: lightness falls all the way, so that no hue need be told apart, and the
# cells stay visible over the lower half.
_STOPS = {
    "field": (palette.MARROW, "#dedbe6", "#b3b3d4", "#8083ba", "#525698", "#25265c"),
    "home": ("#f7f4ec", "#d6e8c4", "#8fceb4", "#4aa3a2", "#27698a", "#1c2f5e"),
    "drug": ("#bfe0ff", "#2f9bff", "#0037b3"),
    "buried": (palette.BONE, "#a9bad0", "#2f9bff", "#0037b3"),
}


class Bar(NamedTuple):
    """A colour bar.

    Attributes
    ----------
    label, unit : str
    low, high : float
        Values of its ends; give them back as `limits` to hold a scale.
    colours : tuple of str
        CSS colours from low to high.
    ticks : tuple of (float, str)
        Place along the bar (0 to 1) and number.
    """

    label: str
    unit: str
    low: float
    high: float
    colours: tuple[str, ...]
    ticks: tuple[tuple[float, str], ...]


@cache
def list_colours(name: str) -> np.ndarray:
    """Return STEPS colours of a map, shape (STEPS, 3), uint8."""
    stops = np.stack([palette.read_rgb(colour) for colour in _STOPS[name]])
    places = np.linspace(0, len(stops) - 1, STEPS)
    ramp = [np.interp(places, np.arange(len(stops)), channel) for channel in stops.T]
    return np.round(255 * np.stack(ramp, axis=1)).astype(np.uint8)


def select_places(frame: Frame, overlay: str) -> np.ndarray:
    """Return where an overlay is drawn, shape (nz, ny, nx)."""
    values, place = frame.maps[overlay], find_overlay(overlay).place
    bone, vessel = frame.maps["mineral"] >= 0.5, frame.maps["sinusoid"]
    if place == "marrow":
        return ~bone & ~vessel & np.isfinite(values)
    return bone & (values > 0) if place == "surface" else bone


def find_limits(frame: Frame, overlay: str) -> tuple[float, float]:
    """Return the ends of a scale that suits one frame: robust to single bright voxels, in round numbers.

    A scale that is held over time is found once, from the frame that shows most.
    """
    look = find_overlay(overlay)
    values = frame.maps[overlay][select_places(frame, overlay)]
    values = values[values > 0][:: max(1, values.size // _SAMPLE)]
    if not len(values):
        return 0.0, 0.0
    low, high = np.quantile(values, [0.02, 0.9995], method="lower")
    if overlay == "suitability":
        return 0.0, min(1.0, float(np.ceil(10 * high)) / 10)
    top = round_up(float(high))
    if look.scale != "log":
        return 0.0, top
    low = max(round_down(float(low)), top / 10**DECADES)
    return (low if low < top else top / 10), top


def round_up(value: float) -> float:
    """Return the next number of two digits from a positive one up."""
    unit = 10.0 ** (np.floor(np.log10(value)) - 1)
    return float(f"{np.ceil(value / unit - 1e-6) * unit:.2g}")


def round_down(value: float) -> float:
    """Return the next number of two digits from a positive one down."""
    unit = 10.0 ** (np.floor(np.log10(value)) - 1)
    return float(f"{np.floor(value / unit + 1e-6) * unit:.2g}")


def check_limits(limits: tuple[float, float], look: Overlay) -> tuple[float, float]:
    """Return the ends of a scale as floats.

    Raises
    ------
    InputError
        They are not two finite numbers from low to high, above 0 on a logarithmic scale.
    """
    try:
        low, high = (float(end) for end in limits)
    except (TypeError, ValueError):
        raise InputError(f"limits: expected two numbers, low and high, not {limits!r}") from None
    empty = low == high == 0.0
    if not (np.isfinite([low, high]).all() and low < high or empty):
        raise InputError(f"limits: expected two finite numbers, the first the smaller, not {low:g} and {high:g}")
    if look.scale == "log" and low <= 0.0 and not empty:
        raise InputError(f"limits: {look.label} has a logarithmic scale, which begins above 0, not at {low:g}")
    return low, high


def scale_values(values: np.ndarray, limits: tuple[float, float], look: Overlay) -> np.ndarray:
    """Return where values lie between the ends of a scale, 0 to 1; NaN counts as 0."""
    low, high = limits
    if not high > 0.0:
        return np.zeros(values.shape, np.float32)
    if look.scale == "log":
        share = np.log(np.maximum(values, low) / low) / np.log(high / low)
    else:
        share = (values - low) / (high - low)
        share = np.sqrt(np.maximum(share, 0.0)) if look.scale == "sqrt" else share
    return np.clip(np.nan_to_num(share), 0.0, 1.0)


def build_bar(look: Overlay, limits: tuple[float, float]) -> Bar:
    """Return the colour bar of an overlay between two ends."""
    low, high = limits
    colours = tuple(palette.write_css(colour) for colour in list_colours(look.colours)[:: STEPS // 24])
    if not high > 0.0:
        return Bar(look.label, look.unit, 0.0, 0.0, colours[:1], ((0.0, "0"),))
    if look.scale == "log":
        values = np.array([low, np.sqrt(low * high), high])
    else:
        values = low + (high - low) * np.array([0.0, 0.25, 0.5, 1.0] if look.scale == "sqrt" else [0.0, 0.5, 1.0])
    places = scale_values(values, limits, look)
    return Bar(look.label, look.unit, low, high, colours, tuple((float(p), f"{v:.2g}") for p, v in zip(places, values)))
