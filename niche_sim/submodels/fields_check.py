"""What can be wrong between the keys of a file about fields alone."""

import math
import re
from typing import Any

from niche_sim.config.problems import suggest
from niche_sim.config.schema import is_whole
from niche_sim.submodels.base import Mistakes
from niche_sim.submodels.fields_formula import FUNCTIONS, VARIABLES, list_names
from niche_sim.submodels.fields_places import PlaceModel
from niche_sim.submodels.fields_spec import AXES, MOST_VOXELS, FieldsModel

MOST_ROWS = 5_000_000
MOST_RECORDS = 100_000
MOST_STEPS = 1_000_000
MOST_WORK = 1e12
"""Most multiplications of one voxel in time; about an hour and a half."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")


def check_spec(spec: FieldsModel) -> Mistakes:
    """Return mistakes across keys."""
    found = _check_lattice(spec)
    if found:
        return found
    found = [*_check_boundary(spec), *_check_parameters(spec), *_check_formulas(spec)]
    for where, place in spec.list_places():
        found += _check_place(spec, where, place)
    for i, probe in enumerate(spec.record.probes):
        found += _check_voxel(spec, ("record", "probes", i), probe)
    found += _check_time(spec) if spec.time is not None else []
    found += _check_steady(spec) if spec.steady is not None else []
    if (spec.steady is None) == (spec.time is None):
        return [*found, (("steady",), "give either steady or time")]
    rows = count_records(spec) * (math.prod(spec.shape) if spec.record.concentration else len(spec.record.probes))
    if rows > MOST_ROWS:
        found.append((("record",), f"gives {rows:,} rows; at most {MOST_ROWS:,}"))
    return found


def count_records(spec: FieldsModel) -> int:
    """Return about how many times are recorded."""
    if spec.time is None:
        return 1
    if spec.time.times_h is not None:
        return len(spec.time.times_h) + 2
    return math.ceil(spec.time.length_h / (spec.time.every_h or math.inf)) + 1


def _check_lattice(spec: FieldsModel) -> Mistakes:
    owner, key = (spec.voxels, "voxels") if spec.voxels is not None else (spec.size_um, "size")
    if (spec.voxels is None) == (spec.size_um is None) or owner is None:
        return [(("voxels",), "give either voxels or size")]
    if owner.z is not None and owner.y is None:
        return [((key, "z"), "an axis z needs an axis y")]
    found: Mistakes = []
    for axis in AXES:
        extent = getattr(owner, axis)
        if extent is None:
            continue
        count = extent if key == "voxels" else extent / spec.voxel_um
        if count < 0.5:
            found.append(((key, axis), "expected at least one voxel"))
        elif not is_whole(count):
            found.append(((key, axis), f"is not a whole number of voxels of {spec.voxel_um:g} um"))
    if not found and math.prod(spec.shape) > MOST_VOXELS:
        found.append(((key,), f"gives {math.prod(spec.shape):,} voxels; at most {MOST_VOXELS:,}"))
    return found


def _check_boundary(spec: FieldsModel) -> Mistakes:
    found: Mistakes = []
    for i, axis in enumerate(AXES):
        if i >= len(spec.shape) and getattr(spec.boundary, axis) is not None:
            found.append((("boundary", axis), f"the lattice has no axis {axis}"))
    for axis, condition in zip(AXES, spec.list_boundary()):
        if (condition.low.kind == "periodic") != (condition.high.kind == "periodic"):
            owner = axis if getattr(spec.boundary, axis) is not None else "every"
            found.append((("boundary", owner), "both faces of an axis are periodic, or none is"))
    return found


def _check_parameters(spec: FieldsModel) -> Mistakes:
    found: Mistakes = []
    for name in spec.parameters:
        if not _NAME.fullmatch(name):
            found.append((("parameters", name), "expected a name of letters, digits and _ (at most 32)"))
        elif name in VARIABLES or name in FUNCTIONS:
            found.append((("parameters", name), "this name has a meaning in every formula already"))
    return found


def _check_formulas(spec: FieldsModel) -> Mistakes:
    found: Mistakes = []
    known = [*VARIABLES, *spec.parameters]
    for where, text in spec.list_formulas():
        names = list_names(text)
        found += [(where, f"unknown name {name!r}{suggest(name, known)}") for name in sorted(names - set(known))]
        if "t" in names and where[0] != "sources":
            found.append((where, "only the formula of a source may change with t"))
        elif "t" in names and spec.time is not None and spec.time.step_h is None:
            found.append((where, "a formula with t is held over each step: give time.step"))
        elif "t" in names and spec.time is None:
            found.append((where, "a steady state has no time t"))
    return found


def _check_voxel(spec: FieldsModel, where: tuple[str | int, ...], voxel: Any) -> Mistakes:
    found: Mistakes = []
    for i, axis in enumerate(AXES):
        index = getattr(voxel, axis)
        if (index is None) != (i >= len(spec.shape)):
            found.append((where, f"expected {', '.join(AXES[: len(spec.shape)])}: the axes of the lattice"))
            break
        if index is not None and index >= spec.shape[i]:
            found.append(((*where, axis), f"is outside: voxels along {axis} are 0 to {spec.shape[i] - 1}"))
    return found


def _check_place(spec: FieldsModel, where: tuple[str | int, ...], place: PlaceModel) -> Mistakes:
    if place.at is not None:
        return _check_voxel(spec, (*where, "at"), place.at)
    found: Mistakes = []
    for key in ("box", "between"):
        ranges = getattr(place, key)
        for i, axis in enumerate(AXES if ranges is not None else ()):
            pair = getattr(ranges, axis)
            if pair is None:
                continue
            if i >= len(spec.shape):
                found.append(((*where, key, axis), f"the lattice has no axis {axis}"))
            elif key == "box" and not pair[0] <= pair[1] < spec.shape[i]:
                found.append(((*where, key, axis), f"expected first and last voxel within 0 to {spec.shape[i] - 1}"))
            elif key == "between" and not pair[0] < pair[1]:
                found.append(((*where, key, axis), "the second length is not above the first"))
    return found


def _check_time(spec: FieldsModel) -> Mistakes:
    time = spec.time
    assert time is not None
    found: Mistakes = []
    if (time.every_h is None) == (time.times_h is None):
        found.append((("time", "every"), "give either every or times"))
    if time.every_h is not None and time.length_h / time.every_h > MOST_RECORDS:
        found.append((("time", "every"), f"gives more than {MOST_RECORDS:,} records"))
    if time.step_h is not None and time.length_h / time.step_h > MOST_STEPS:
        found.append((("time", "step"), f"gives more than {MOST_STEPS:,} steps"))
    for i, t in enumerate(time.times_h or []):
        if t > time.length_h:
            found.append((("time", "times", i), "is after the end of the run"))
    for key in ("sources", "releases"):
        for i, part in enumerate(getattr(spec, key)):
            start, name = (part.start_h, "start") if key == "sources" else (part.time_h, "time")
            if start > time.length_h:
                found.append(((key, i, name), "is after the end of the run"))
            if key == "sources" and part.until_h is not None and part.until_h <= start:
                found.append(((key, i, "until"), "is not after its start"))
    work = math.prod(spec.shape) * count_jumps(spec, rate_of(spec), spec.decay_h)
    if work > MOST_WORK:
        found.append((("time", "length"), f"needs {work:.1e} updates of voxels, at most {MOST_WORK:.0e}: take larger ones"))
    return found


def rate_of(spec: FieldsModel) -> float:
    """Return the fastest loss of a voxel (1/h) by diffusion and decay."""
    return 2.0 * len(spec.shape) * spec.diffusion_um2_h / spec.voxel_um**2 + spec.decay_h


def count_jumps(spec: FieldsModel, rate: float, least: float) -> float:
    """Return about how many jumps a run needs: a field is held 30 lifetimes of the least loss (1/h) after each event."""
    assert spec.time is not None
    moving = any("t" in list_names(text) for _, text in spec.list_formulas())
    # Rounding hides the steady state where losses are slow beside the rate.
    if moving or rate > 1000.0 * least:
        return rate * spec.time.length_h
    events = 1 + 2 * len(spec.sources) + len(spec.releases)
    return rate * min(spec.time.length_h, 30.0 * events / least)


def _check_steady(spec: FieldsModel) -> Mistakes:
    found: Mistakes = []
    if spec.releases:
        found.append((("releases",), "a steady state has no releases; use time"))
    for i, source in enumerate(spec.sources):
        if source.start_h > 0.0 or source.until_h is not None:
            found.append((("sources", i), "a source of a steady state has neither start nor until; use time"))
    faces = [face for condition in spec.list_boundary() for face in (condition.low, condition.high)]
    if spec.decay_h == 0.0 and not spec.uptake and all(face.kind != "fixed" for face in faces):
        found.append((("decay",), "without decay, uptake and fixed faces there is no single steady state"))
    if spec.steady is not None and spec.steady.method == "direct" and len(spec.shape) == 3:
        found.append((("steady", "method"), "direct is for one and two dimensions; use gradients"))
    return found
