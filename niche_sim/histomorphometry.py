"""The histomorphometry of a result: a table of standard quantities (ASBMR) beside what was measured in people.

Means over a window of the record. Uncertainty, one standard error: of what is recorded in time from the scatter of ten
blocks of the window, of what belongs to BMUs from the scatter of those that ended in it, of the activation frequency from
the number of births. Depth and wall thickness are means over surface, as a section samples them: each BMU counts by its
footprint. Local thickness is that of the largest sphere (a disc in 2-D) within bone that holds a point (Hildebrand and
Rueegsegger 1997, J Microsc 185:67), measured on the pictures of the window.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import ndimage

from niche_sim.config.reader import read_document
from niche_sim.errors import InputError
from niche_sim.resources import configs_dir
from niche_sim.turnover import HOURS_PER_DAY, HOURS_PER_YEAR
from niche_sim.units import convert

BLOCKS = 10
AGREEMENT = 2.0  # standard errors by which a mean may lie outside the interval of the literature
COLUMNS = ("symbol", "quantity", "unit", "mean", "error", "n", "literature", "low", "high", "agrees", "source")

# Quantities of the series: symbol, name, unit, and how they follow from the mean row of a block.
_Row = Mapping[str, float]
OF_SERIES: tuple[tuple[str, str, str, Callable[[_Row], float]], ...] = (
    ("BV/TV", "bone volume", "%", lambda row: 100 * row["bone_volume_fraction"]),
    ("BS/TV", "bone surface density", "/mm", lambda row: row["bone_surface_density_per_mm"]),
    ("Tb.Th", "trabecular thickness, plate model", "um", lambda row: row["trabecular_thickness_um"]),
    ("Tb.Sp", "trabecular separation, plate model", "um", lambda row: row["trabecular_separation_um"]),
    ("Tb.N", "trabecular number, plate model", "/mm", lambda row: row["trabecular_number_per_mm"]),
    ("ES/BS", "eroded surface", "%", lambda row: 100 * row["eroded_surface_fraction"]),
    ("Oc.S/BS", "osteoclast surface", "%", lambda row: 100 * row["osteoclast_surface_fraction"]),
    ("OS/BS", "osteoid surface", "%", lambda row: 100 * row["osteoid_surface_fraction"]),
    ("MS/BS", "mineralising surface", "%", lambda row: 100 * row["mineralising_surface_fraction"]),
    ("MAR", "mineral apposition rate", "um/d", lambda row: _divide(
        row["bone_formation_um_per_d"], row["mineralising_surface_fraction"])),
    ("BFR/BS", "bone formation rate", "um/d", lambda row: row["bone_formation_um_per_d"]),
)  # fmt: skip


@dataclass(frozen=True)
class Estimate:
    """A mean, its standard error, and the number of blocks, BMUs, births or pictures behind it."""

    mean: float
    error: float
    n: int


@dataclass(frozen=True)
class Reference:
    """What the literature says of a quantity: an interval in the unit of the table, in words, and its source."""

    low: float
    high: float
    words: str
    source: str
    note: str


def _divide(a: float, b: float) -> float:
    return a / b if b else math.nan


# ---------------------------------------------------------------- estimates


def _spread(values: np.ndarray) -> float:
    """Return the standard error of the mean of independent values; NaN for fewer than two."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def average_rows(series: pd.DataFrame) -> tuple[pd.Series, pd.DataFrame]:
    """Return the mean row of a series, and the mean rows of up to BLOCKS equally long blocks of it."""
    numbers = series.select_dtypes("number")
    blocks = np.minimum(np.arange(len(numbers)) * BLOCKS // max(len(numbers), 1), BLOCKS - 1)
    return numbers.mean(), numbers.groupby(blocks).mean()


def estimate_series(series: pd.DataFrame, quantity: Callable[[_Row], float]) -> Estimate:
    """Return a quantity of the mean row of a series, with the scatter of that of its blocks."""
    mean, blocks = average_rows(series)
    values = np.array([quantity(row) for _, row in blocks.iterrows()])
    known = values[np.isfinite(values)]
    return Estimate(float(quantity(mean)), _spread(known), len(known))


def estimate_bmus(values: pd.Series, weights: pd.Series | None = None) -> Estimate:
    """Return the weighted mean over BMUs and its standard error (a ratio of sums); those without a value are left out."""
    known = values.notna()
    x = values[known].to_numpy(float)
    w = np.ones(len(x)) if weights is None else weights[known].to_numpy(float)
    if len(x) == 0 or w.sum() <= 0:
        return Estimate(math.nan, math.nan, len(x))
    mean = float(w @ x / w.sum())
    bessel = len(x) / (len(x) - 1) if len(x) > 1 else math.nan
    return Estimate(mean, float(math.sqrt(bessel * ((w * (x - mean)) ** 2).sum()) / w.sum()), len(x))


def estimate_drift(series: pd.DataFrame, column: str) -> Estimate:
    """Return the slope of a column, % of its mean a year, by least squares through the means of the blocks."""
    _, blocks = average_rows(series)
    years, values = blocks["time_h"].to_numpy() / HOURS_PER_YEAR, blocks[column].to_numpy()
    if len(values) < 3:
        return Estimate(math.nan, math.nan, len(values))
    (slope, level), about = np.polyfit(years, values, 1), years - years.mean()
    left = values - slope * years - level
    error = math.sqrt(float(left @ left) / (len(values) - 2) / float(about @ about))
    percent = 100.0 / float(values.mean())
    return Estimate(percent * float(slope), percent * error, len(values))


def estimate_activation(series: pd.DataFrame, births: int) -> Estimate:
    """Return the mean activation frequency (1/yr), uncertain by the number of births alone."""
    mean = float(series["activation_frequency_per_yr"].mean())
    return Estimate(mean, mean / math.sqrt(births) if births else math.nan, births)


def _quotient(a: Estimate, b: Estimate, scale: float) -> Estimate:
    mean = scale * _divide(a.mean, b.mean)
    return Estimate(mean, abs(mean) * math.hypot(_divide(a.error, a.mean), _divide(b.error, b.mean)), min(a.n, b.n))


# ---------------------------------------------------------------- local thickness


def _halve_voxels(mask: np.ndarray) -> np.ndarray:
    """Return a mask on points half a voxel apart, centres and corners alike; a point on the surface is outside."""
    for axis in range(mask.ndim):
        wall = mask & np.roll(mask, 1, axis)
        mask = np.stack([wall, mask], axis + 1).reshape([n * (2 if k == axis else 1) for k, n in enumerate(mask.shape)])
    return mask


def measure_local_thickness(mask: np.ndarray, voxel_um: float, periodic: bool) -> float:
    """Return the mean over the points of a mask of the diameter (um) of the largest sphere in the mask that holds the point.

    Parameters
    ----------
    mask : ndarray of bool, shape (nz, ny, nx)
        nz is 1 in 2-D, where spheres are discs. Beyond a closed boundary the mask is taken to go on.
    voxel_um : float
    periodic : bool

    Returns
    -------
    float
        NaN for an empty mask, and for a full one, which holds no largest sphere. In 3-D low by less than a voxel.
    """
    inside = mask.astype(bool)
    inside = inside[0] if inside.shape[0] == 1 else inside
    if not inside.any() or inside.all():
        return math.nan
    points = _halve_voxels(inside)
    if not periodic:  # what lies below the first plane of centres is no wall
        points = points[tuple(slice(1, None) for _ in points.shape)]
    radius = _measure_distance(points, min(points.shape) // 2, periodic)
    # From the smallest sphere to the largest: a point keeps the last that holds it. A solid has too many different radii
    # to try each: they are rounded down to half voxels.
    radii = np.unique(np.floor(radius[points]) if points.ndim == 3 else radius[points])
    diameter, widest = np.zeros(points.shape), int(math.ceil(radii[-1]))
    for r in radii:
        near = _measure_distance(radius < r, widest, periodic) < r
        diameter[near & points] = 2.0 * r
    return float(diameter[points].mean() * 0.5 * voxel_um)


def _measure_distance(mask: np.ndarray, width: int, periodic: bool) -> np.ndarray:
    """Return the distance of each point of a mask to the nearest outside it, through a periodic boundary up to `width`."""
    if not periodic:
        return ndimage.distance_transform_edt(mask)
    inner = tuple(slice(width, width + n) for n in mask.shape)
    return ndimage.distance_transform_edt(np.pad(mask, width, mode="wrap"))[inner]


# ---------------------------------------------------------------- literature


def _read_interval(entry: Mapping[str, Any], unit: str) -> tuple[float, float, str]:
    plain = "" if unit == "%" else unit
    one = convert(f"1 {unit}", plain)

    def number(text: str) -> float:
        return convert(text, plain) / one

    if "range" in entry:
        low, high = (number(text) for text in entry["range"])
        return low, high, f"{low:.4g} to {high:.4g}"
    value, spread = number(entry["value"]), number(entry["spread"]) if "spread" in entry else 0.0
    return value - spread, value + spread, f"{value:.4g}" + (f" +- {spread:.4g}" if spread else "")


def name_state(oestradiol: float) -> str:
    """Return the state (pre, peri or post) for whose women the literature speaks at an oestradiol (nmol/L)."""
    return "pre" if oestradiol >= LOWEST_PRE else "peri" if oestradiol >= LOWEST_PERI else "post"


def read_references(oestrogen: str) -> dict[str, Reference]:
    """Return the literature by symbol for a patient of an oestrogen state (pre, peri or post)."""
    document = read_document(configs_dir() / "histomorphometry.yaml")
    units = {symbol: unit for symbol, _, unit in list_quantities()}
    return {
        symbol: Reference(*_read_interval(entry, units[symbol]), entry["source"], entry.get("note", ""))
        for symbol, entries in document.data.items()
        for entry in entries
        if oestrogen in entry["patients"]
    }


# ---------------------------------------------------------------- the table

LOWEST_PRE, LOWEST_PERI = 0.18, 0.055  # nmol/L of oestradiol, 50 and 15 pg/mL: late reproductive years, first years after

OF_BMUS = (
    ("Rs.P", "resorption period", "d"), ("Rv.P", "reversal period", "d"),
    ("Rs.P+Rv.P", "resorption and reversal period", "d"), ("FP", "formation period", "d"),
    ("E.De", "erosion depth", "um"), ("W.Th", "wall thickness", "um"),
)  # fmt: skip
OF_RATES = (
    ("Ac.f", "activation frequency, counted births", "/yr"),
    ("Ac.f (BFR/W.Th)", "activation frequency, BFR/BS / W.Th", "/yr"),
    ("d(BV/TV)", "drift of bone volume", "%/yr"), ("d(Tb.Th)", "drift of trabecular thickness", "%/yr"),
)  # fmt: skip
OF_PICTURES = (("Tb.Th (sphere)", "local thickness of bone", "um"), ("Tb.Sp (sphere)", "local thickness of marrow", "um"))


def list_quantities() -> list[tuple[str, str, str]]:
    """Return symbol, name and unit of every line of the table, in its order."""
    return [(symbol, name, unit) for symbol, name, unit, _ in OF_SERIES] + [*OF_RATES, *OF_BMUS, *OF_PICTURES]


def _estimate_cycle(bmus: pd.DataFrame) -> dict[str, Estimate]:
    whole, opened = bmus[bmus["outcome"] == "completed"], bmus["footprint_um2"]
    resorption, reversal = bmus["resorption_period_h"], bmus["reversal_period_h"]
    eroded = bmus["depth_um"].where(bmus["resorption_start_h"].notna())
    return {
        "Rs.P": estimate_bmus(resorption / HOURS_PER_DAY), "Rv.P": estimate_bmus(reversal / HOURS_PER_DAY),
        "Rs.P+Rv.P": estimate_bmus((resorption + reversal) / HOURS_PER_DAY),
        "FP": estimate_bmus(whole["formation_period_h"] / HOURS_PER_DAY),
        "E.De": estimate_bmus(eroded, opened), "W.Th": estimate_bmus(whole["wall_thickness_um"], whole["footprint_um2"]),
    }  # fmt: skip


def estimate_all(series: pd.DataFrame, bmus: pd.DataFrame) -> dict[str, Estimate]:
    """Return the estimates by symbol from the series of one arm and its finished BMUs, both over the same window."""
    found = {symbol: estimate_series(series, quantity) for symbol, _, _, quantity in OF_SERIES}
    births = int(series["bmu_started"].iloc[-1] - series["bmu_started"].iloc[0])
    found["Ac.f"] = estimate_activation(series, births)
    if len(bmus):
        found |= _estimate_cycle(bmus)
        found["Ac.f (BFR/W.Th)"] = _quotient(found["BFR/BS"], found["W.Th"], HOURS_PER_YEAR / HOURS_PER_DAY)
    found["d(BV/TV)"] = estimate_drift(series, "bone_volume_fraction")
    found["d(Tb.Th)"] = estimate_drift(series, "trabecular_thickness_um")
    return found


def estimate_pictures(bone: np.ndarray, voxel_um: float, periodic: bool) -> dict[str, Estimate]:
    """Return local thickness and separation, means over pictures; `bone` has the shape (t, nz, ny, nx)."""
    means = {
        "Tb.Th (sphere)": [measure_local_thickness(mask, voxel_um, periodic) for mask in bone],
        "Tb.Sp (sphere)": [measure_local_thickness(~mask, voxel_um, periodic) for mask in bone],
    }
    return {symbol: Estimate(float(np.mean(v)), _spread(np.array(v)), len(v)) for symbol, v in means.items() if v}


def tabulate(found: Mapping[str, Estimate], oestrogen: str) -> pd.DataFrame:
    """Return estimates beside the literature for an oestrogen state, a line a quantity, with the columns COLUMNS."""
    references, rows = read_references(oestrogen), []
    for symbol, name, unit in list_quantities():
        if symbol not in found:
            continue
        estimate, reference = found[symbol], references.get(symbol)
        row = {"symbol": symbol, "quantity": name, "unit": unit, "mean": estimate.mean, "error": estimate.error}
        row |= {"n": estimate.n, "literature": "", "low": math.nan, "high": math.nan, "agrees": "", "source": ""}
        if reference:
            far = max(reference.low - estimate.mean, estimate.mean - reference.high, 0.0)
            slack = AGREEMENT * estimate.error if math.isfinite(estimate.error) else 0.0
            agrees = "" if math.isnan(estimate.mean) else "yes" if far <= slack else "no"
            agrees = "too few" if agrees == "no" and not math.isfinite(estimate.error) else agrees
            row |= {"literature": reference.words, "low": reference.low, "high": reference.high, "agrees": agrees}
            row["source"] = reference.source if reference.source != "none" else "recalled, no source seen"
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _cut(frame: pd.DataFrame, arm: str, start_h: float, end_h: float) -> pd.DataFrame:
    time = frame["time_h"]
    return frame[(frame["arm"] == arm) & (time > start_h) & (time <= end_h)]


def histomorphometry(
    result: Any, arm: str | None = None, start_h: float = 0.0, end_h: float = math.inf, *, pictures: bool = True
) -> pd.DataFrame:
    """Return the histomorphometry of one arm of a result.

    Parameters
    ----------
    result : store.Result
    arm : str, optional
        The first arm by default.
    start_h, end_h : float
        The window (h): rows of the series after `start_h` and up to `end_h`, BMUs that ended in it, pictures in it.
    pictures : bool
        Whether to measure local thickness, which takes seconds for a picture of a large lattice.

    Returns
    -------
    DataFrame
        A row a quantity: symbol, quantity, unit, mean, error (one standard error), n (blocks, births, BMUs or pictures),
        literature (with low and high, the interval that counts as agreement within two errors), agrees, source.

    Raises
    ------
    InputError
        No such arm, or fewer than two rows of the series in the window.
    """
    arm = result.arms[0] if arm is None else arm
    if arm not in result.arms:
        raise InputError(f"{result.directory}: no arm '{arm}'; there is {', '.join(result.arms)}")
    series = _cut(result.series, arm, start_h, end_h)
    if len(series) < 2:
        raise InputError(
            f"{result.directory}: the series of '{arm}' holds {len(series)} rows in the window; expected at least two: "
            "widen --from and --to, or record a series"
        )
    found = estimate_all(series, _cut(result.bmus, arm, start_h, end_h))
    if pictures:
        found |= _measure_pictures(result, arm, start_h, end_h)
    given = result.experiment_mapping["patient"]["oestradiol"]
    first = given[0] if isinstance(given, list) else given
    return tabulate(found, name_state(convert(first["value"], "nmol/L")))


def _measure_pictures(result: Any, arm: str, start_h: float, end_h: float) -> dict[str, Estimate]:
    if "mineral" not in result.map_names(arm):
        return {}
    times = result.map_times_h(arm)
    bone = result.maps(arm, "mineral")[(times >= start_h) & (times <= end_h)] >= 0.5
    scene = result.experiment_mapping["scene"]
    return estimate_pictures(bone, convert(scene["voxel"], "um"), scene.get("boundary", "periodic") == "periodic")


def _write(value: float, digits: int) -> str:
    return f"{value:.{digits}g}" if math.isfinite(value) else "-"


def write_table(table: pd.DataFrame) -> list[str]:
    """Return the table as aligned lines of text."""
    headings = ("symbol", "quantity", "unit", "mean", "error", "n", "literature", "agrees", "source")
    texts = [
        (row.symbol, row.quantity, row.unit, _write(row.mean, 3), _write(row.error, 2), str(row.n), row.literature,
         row.agrees, row.source)
        for row in table.itertuples()
    ]  # fmt: skip
    widths = [max(len(line[k]) for line in [headings, *texts]) for k in range(len(headings))]
    right = {"mean", "error", "n"}
    return [
        "  ".join(t.rjust(w) if h in right else t.ljust(w) for t, w, h in zip(line, widths, headings)).rstrip()
        for line in [headings, *texts]
    ]
