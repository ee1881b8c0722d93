"""What no single key can tell: times against the tick, courses against the run, size against the voxel."""

import math
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

from niche_sim.config.drugs import DrugFile
from niche_sim.config.problems import Path
from niche_sim.config.report import Report
from niche_sim.config.schema import (
    MOST_DOSES,
    MOST_PICTURES,
    CourseModel,
    GeneratedScene,
    ImageScene,
    RecordModel,
    SceneSpec,
    TimeModel,
    is_whole,
)
from niche_sim.errors import InputError
from niche_sim.kinds import MOST_HOPS, MOST_ROUNDS, MOST_VOXELS
from niche_sim.parameters import ParameterSet
from niche_sim.units import convert, quote, write

MOST_PER_AXIS = 4096
_LEAST_VOXELS = 3


def _say(report: Report, path: Path, value: float) -> str:
    """Return a time as the file writes it."""
    written = report.document.get(path)
    return quote(written if isinstance(written, str) else write(value, "h"))


def check_time(report: Report, path: Path, time: TimeModel) -> None:
    """Check that length and spin-up are whole numbers of ticks."""
    for key, value in (("length", time.length_h), ("spin_up", time.spin_up_h)):
        if not is_whole(value / time.tick_h):
            _note_off_tick(report, (*path, key), value, time.tick_h)


def _note_off_tick(report: Report, path: Path, value: float, tick: float) -> None:
    near = write(max(1, round(value / tick)) * tick, "h")
    step = write(tick, "h")
    message = f"{_say(report, path, value)} is not a whole number of ticks of {step}; the nearest is {near}"
    report.add(path, "range", message)


def check_record(report: Report, path: Path, record: RecordModel, time: TimeModel) -> None:
    """Check that intervals are whole numbers of ticks and pictures lie in the run."""
    for key in ("series", "cells", "fields", "ledgers", "pictures"):
        value = getattr(record, f"{key}_h")
        if isinstance(value, float) and not is_whole(value / time.tick_h):
            _note_off_tick(report, (*path, key), value, time.tick_h)
    if isinstance(record.pictures_h, float):
        _check_number_of_pictures(report, (*path, "pictures"), record.pictures_h, time)
        return
    for i, picture in enumerate(record.pictures_h or []):
        if picture > time.length_h:
            here, end = (*path, "pictures", i), _say(report, ("time", "length"), time.length_h)
            report.add(here, "range", f"{_say(report, here, picture)} is after the end of the run, {end}")


def _check_number_of_pictures(report: Report, path: Path, interval_h: float, time: TimeModel) -> None:
    count = math.ceil(time.length_h / interval_h - 1e-9) + 1
    if count > MOST_PICTURES and is_whole(interval_h / time.tick_h):
        least = math.ceil(time.length_h / (MOST_PICTURES - 1) / time.tick_h) * time.tick_h
        message = f"{_say(report, path, interval_h)} gives {count:,} pictures, at most {MOST_PICTURES} are kept"
        report.add(path, "range", f"{message}; take {write(least, 'h')} or more")


def check_tick(report: Report, time: TimeModel, scene: SceneSpec, parameters: ParameterSet) -> None:
    """Check that a tick is short enough to follow the hops of the fastest cell."""
    for name in ("migration.tumour_speed", "migration.precursor_speed", "migration.macrophage_speed"):
        speed = parameters.value(name)
        if speed * time.tick_h > MOST_HOPS * MOST_ROUNDS * scene.voxel_um:
            longest = write(MOST_HOPS * MOST_ROUNDS * scene.voxel_um / speed, "h")
            message = f"is too long for {name} {write(speed, 'um/h')} and voxels of {scene.voxel_um:g} um; at most {longest}"
            report.add(("time", "tick"), "range", message)


def check_changes(report: Report, arms: Mapping[str, Any], time: TimeModel) -> None:
    """Check that what changes in an arm changes at the end of a tick."""
    for name in arms:
        for i, change in enumerate(report.document.get(("arms", name, "changes")) or []):
            path: Path = ("arms", name, "changes", i, "at")
            try:
                at_h = convert(change["at"], "h")
            except (InputError, KeyError, TypeError):
                continue  # its own mistake
            if not is_whole(at_h / time.tick_h):
                _note_off_tick(report, path, at_h, time.tick_h)


def check_course(report: Report, path: Path, course: CourseModel, length_h: float | None) -> None:
    """Check the order of start, until and the end of the run, and how many doses there are."""
    start, until, interval = course.start_h, course.until_h, course.interval_h
    if length_h is not None and start >= length_h:
        here, end = (*path, "start"), _say(report, ("time", "length"), length_h)
        report.add(here, "range", f"the course starts at {_say(report, here, start)}, but the run ends at {end}")
    if until is not None and interval is None:
        report.add((*path, "until"), "value", "`until` needs an `interval`; a single dose has neither", key=True)
    if until is not None and until <= start:
        here, begin = (*path, "until"), _say(report, (*path, "start"), start)
        report.add(here, "range", f"{_say(report, here, until)} is not after the start, {begin}")
    if interval is not None and length_h is not None and (length_h - start) / interval > MOST_DOSES:
        report.add((*path, "interval"), "range", f"gives more than {MOST_DOSES} doses")
    _check_numbers(report, path, course)


def _check_numbers(report: Report, path: Path, course: CourseModel) -> None:
    """Check how many doses there are, and that those missed are among them."""
    if course.cycle_h is not None:
        _check_cycle(report, path, course)
    elif course.doses is not None and course.until_h is not None:
        report.add((*path, "doses"), "value", "`doses` and `until` both end the course; give one of them", key=True)
    if course.interval_h is None and (course.doses or 1) > 1:
        report.add((*path, "doses"), "value", f"{course.doses} doses need an `interval`", key=True)
    most = _count_doses(course)
    for i, number in enumerate(course.missed):
        if number in course.missed[:i]:
            report.add((*path, "missed", i), "duplicate", f"dose {number} is already in the list")
        elif most is not None and number > most:
            there = "1 dose" if most == 1 else f"{most} doses, numbered from 1"
            report.add((*path, "missed", i), "range", f"there is no dose {number}; the course has {there}")


def _check_cycle(report: Report, path: Path, course: CourseModel) -> None:
    """Check that the doses of a cycle fit into it."""
    assert course.cycle_h is not None
    if course.interval_h is None or course.doses is None:
        message = "`cycle` needs the `interval` and the number of `doses` of each cycle"
        report.add((*path, "cycle"), "value", message, key=True)
    elif course.doses * course.interval_h > course.cycle_h * (1 + 1e-9):
        lasts = write(course.doses * course.interval_h, "h")
        report.add((*path, "cycle"), "range", f"is shorter than its {course.doses} doses, {lasts}")


def _count_doses(course: CourseModel) -> int | None:
    """Return how many doses a course has, None if it goes on to the end of the run."""
    if course.cycle_h is not None:
        return None
    if course.interval_h is None:
        return 1
    if course.until_h is not None and course.doses is None:
        return max(0, math.ceil((course.until_h - course.start_h) / course.interval_h - 1e-9))
    return course.doses


def list_routes(drug: DrugFile) -> list[str]:
    """Return the routes on which a drug can be given, its own first."""
    own, kinetics = drug.drug.route, drug.drug.has_kinetics
    allowed = [own]
    if kinetics and own != "iv":
        allowed.append("iv")
    if kinetics and own == "iv" and drug.drug.absorption_rate > 0:
        allowed.append("oral")
    return allowed


def check_route(report: Report, path: Path, course: CourseModel, drug: DrugFile) -> None:
    """Check that a drug can be given on the route of a course."""
    own, allowed = drug.drug.route, list_routes(drug)
    if course.route is not None and course.route not in allowed:
        message = f"{drug.name} is given {' or '.join(allowed)}, not {course.route}"
        if course.route == "sc":
            message += "; to give it both ways, let its file say `route: sc` and the courses by vein `route: iv`"
        report.add((*path, "route"), "value", message)
    infusion = drug.drug.infusion_h if course.infusion_h is None else course.infusion_h
    if course.infusion_h is not None and (course.route or own) != "iv":
        report.add((*path, "infusion"), "value", f"only an iv dose is infused, not one given {course.route or own}")
    elif course.interval_h is not None and infusion > course.interval_h and (course.route or own) == "iv":
        report.add((*path, "interval"), "range", f"is shorter than the infusion, {write(infusion, 'h')}")


def check_scene(report: Report, path: Path, scene: SceneSpec) -> None:
    """Check that the scene can be drawn with its voxels."""
    if scene.sinusoid_diameter_um >= scene.sinusoid_spacing_um:
        report.add((*path, "sinusoid_diameter"), "range", "must be smaller than sinusoid_spacing")
    if isinstance(scene, GeneratedScene):
        _check_size(report, path, scene)
        if scene.trabecular_thickness_um < scene.voxel_um:
            report.add((*path, "trabecular_thickness"), "range", f"is thinner than a voxel, {scene.voxel_um:g} um")
        if scene.trabecular_thickness_um >= min(scene.size_um) >= _LEAST_VOXELS * scene.voxel_um:
            report.add((*path, "trabecular_thickness"), "range", f"is not thinner than the patch, {min(scene.size_um):g} um")
        share = scene.trabecular_thickness_um / (scene.trabecular_thickness_um + scene.trabecular_separation_um)
        if not 0.5 <= scene.bone_volume_fraction / share <= 2.0:
            wanted = scene.bone_volume_fraction
            message = f"plates of that thickness and separation fill {share:.2g} of the volume, not {wanted:g}"
            report.add((*path, "bone_volume_fraction"), "range", message)


def _check_size(report: Report, path: Path, scene: GeneratedScene) -> None:
    voxel = scene.voxel_um
    for i, edge in enumerate(scene.size_um):
        ratio, here = edge / voxel, (*path, "size", i)
        if not is_whole(ratio):
            near = f"{max(_LEAST_VOXELS, round(ratio)) * voxel:g} um"
            message = f"{edge:g} um is not a whole number of voxels of {voxel:g} um; the nearest is {near}"
            report.add(here, "range", message)
        elif round(ratio) < _LEAST_VOXELS:
            report.add(here, "range", f"is fewer than {_LEAST_VOXELS} voxels of {voxel:g} um")
        elif round(ratio) > MOST_PER_AXIS:
            report.add(here, "range", f"is more than {MOST_PER_AXIS} voxels of {voxel:g} um")
    count = count_voxels(scene)
    if count > MOST_VOXELS:
        report.add((*path, "size"), "range", f"gives {count:.3g} voxels; at most {MOST_VOXELS:.3g} fit")


def count_voxels(scene: GeneratedScene) -> int:
    """Return the number of voxels of a generated scene."""
    return math.prod(round(edge / scene.voxel_um) for edge in scene.size_um)


def check_population(report: Report, path: Path, population: Any, scene: SceneSpec) -> None:
    """Check that the tumour cells have room, one marrow voxel each."""
    if not isinstance(scene, GeneratedScene):
        return
    room = int(count_voxels(scene) * (1.0 - scene.bone_volume_fraction))
    wanted = population.dormant_dtc + population.cycling_dtc
    if wanted > room:
        key = "dormant_dtc" if population.dormant_dtc >= population.cycling_dtc else "cycling_dtc"
        report.add((*path, key), "range", f"{wanted} tumour cells do not fit into some {room} voxels of marrow")


def find_image(report: Report, path: Path, scene: ImageScene) -> ImageScene:
    """Return the scene with the path of its image from the file that names it; note a missing image."""
    place = report.document.place((*path, "file"))
    file = FilePath(place.file).parent / scene.file
    try:
        if file.is_symlink():
            report.add((*path, "file"), "file", f"{quote(scene.file)} is a link; name the image itself")
        elif not file.is_file():
            kind = "is not a regular file" if file.exists() else "does not exist"
            report.add((*path, "file"), "file", f"{quote(scene.file)} {kind}")
    except (OSError, ValueError):
        report.add((*path, "file"), "file", f"{quote(scene.file)} is not a path")
        return scene
    return scene.model_copy(update={"file": str(file.resolve())})
