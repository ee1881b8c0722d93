"""Parameter sets that extend others: a set with `extends: NAME` holds only what differs from the set of that name.

An entry gives a value, or `times`: a multiple of the value in the set below, its range being that of the multiple. So a set
that states ratios holds when the numbers below it change. Either way the entry has a status, source and note of its own.
"""

from fractions import Fraction
from pathlib import Path as FilePath
from typing import Any

from niche_sim.config.library import find_file, read_named
from niche_sim.config.problems import ConfigError, Path, Problem, write_path
from niche_sim.config.reader import Document
from niche_sim.config.report import Report
from niche_sim.errors import InputError
from niche_sim.parameters import check_range
from niche_sim.units import convert, quote, split

EXTENDS = "extends"
TIMES = "times"


def extend(report: Report, path: Path) -> None:
    """Complete the parameter set at a path by the sets that it extends; mistakes are noted."""
    document = report.document
    layers = [document.cut_out(path)]
    files = [FilePath(layers[0].place(()).file)]
    while isinstance(layers[-1].data, dict) and EXTENDS in layers[-1].data:
        parent = _read_parent(report, path, layers[-1], files)
        if parent is None:
            report.broken.add(path)
            return
        layers.append(parent)
    *upper, lowest = layers
    if upper:
        document.graft(path, lowest)
    _refuse_multiples(report, path, lowest.data)
    for layer in reversed(upper):
        _lay(report, path, layer)


def _refuse_multiples(report: Report, path: Path, lowest: Any) -> None:
    """Note the multiples of a set that has none below it."""
    for group, leaves in lowest.items() if isinstance(lowest, dict) else ():
        for key, leaf in leaves.items() if isinstance(leaves, dict) else ():
            if isinstance(leaf, dict) and TIMES in leaf:
                message = f"there is no set below to multiply; the file begins with `{EXTENDS}: NAME`"
                report.add((*path, group, key, TIMES), "value", message, key=True)
                report.broken.add((*path, group, key))


def _read_parent(report: Report, path: Path, layer: Document, files: list[FilePath]) -> Document | None:
    """Return the set that a layer extends and note its file, or None after noting why there is none."""
    name = layer.data[EXTENDS]
    try:
        if not isinstance(name, str):
            raise InputError(f"expected the name or path of the parameter set that this one extends, not {quote(name)}")
        files.append(find_file("parameters", name, FilePath(layer.place((EXTENDS,)).file).parent))
        if files[-1].resolve() in [file.resolve() for file in files[:-1]]:
            raise InputError(f"the set extends itself: {' -> '.join(file.name for file in files)}")
        parent = read_named(files[-1])
        if not isinstance(parent.data, dict):
            raise InputError(f"{quote(name)} is not a parameter set")
    except ConfigError as error:
        if error.problems[0].code != "file":
            report.adopt(path, error)
            return None
        message = f"{quote(name)} {error.problems[0].message}"
    except InputError as error:
        message = str(error)
    else:
        report.problems += [problem for problem in parent.problems if problem not in report.problems]
        return parent
    place = layer.place((EXTENDS,))
    where = write_path((*path, EXTENDS))
    report.problems.append(Problem(place.file, place.line, place.column, where, "name", message))
    return None


def _lay(report: Report, path: Path, layer: Document) -> None:
    """Put what a layer holds over the set at a path, entry by entry."""
    below = report.document
    for group, leaves in layer.data.items():
        if group == EXTENDS:
            continue
        if not isinstance(leaves, dict) or not isinstance(below.get((*path, group)), dict):
            _put(below, (*path, group), layer, (group,))
            continue
        for key, leaf in leaves.items():
            here = (*path, group, key)
            replaced = below.get(here)
            _put(below, here, layer, (group, key))
            if isinstance(leaf, dict) and TIMES in leaf and replaced is not None:
                _multiply(report, here, replaced)


def _put(below: Document, path: Path, layer: Document, inner: Path) -> None:
    """Graft a value of a layer; its places, and that of its key, are those of the layer."""
    below.graft(path, layer, inner)
    below.places[path], below.keys[path] = layer.place(inner), layer.key_place(inner)


def _multiply(report: Report, path: Path, replaced: Any) -> None:
    """Write the entry at a path, a multiple of the one it replaced, with a value and a range."""
    document, before = report.document, len(report.problems)
    leaf = document.get(path)
    if "value" in leaf:
        report.fail(path, "value", f"an entry has a value or {TIMES!r}, not both")
        return
    times = report.attempt((*path, TIMES), "unit", convert, leaf[TIMES], "")
    limits = leaf.get("range")
    if not isinstance(limits, list) or len(limits) != 2:
        report.add((*path, "range"), "type", "expected the lowest and the highest multiple, e.g. [0.5, 2]")
        report.broken.add(path)
        return
    low, high = (report.attempt((*path, "range", i), "unit", convert, limit, "") for i, limit in enumerate(limits))
    if len(report.problems) == before:
        report.attempt((*path, TIMES), "range", check_range, times, leaf[TIMES], (low, high), (limits[0], limits[1]))
    if len(report.problems) == before and low < 0:
        report.add((*path, "range", 0), "range", "a multiple is not below 0")
    if len(report.problems) > before:
        report.broken.add(path)
        return
    try:
        value = _scale(replaced["value"], times)
        bounds = [_scale(bound, factor) for bound, factor in zip(replaced["range"], (low, high), strict=True)]
    except (InputError, TypeError, KeyError, ValueError, OverflowError):
        report.fail((*path, TIMES), "value", "the set below has no sound value and range to multiply")
        return
    note = f"{times:g} x {replaced['value']}. {leaf.get('note') or ''}".strip()
    document.places[(*path, "value")] = document.place((*path, TIMES))
    del leaf[TIMES]
    leaf |= {"value": value, "range": bounds, "note": note}


def _scale(written: Any, factor: float) -> str | float:
    """Return a number as written, with its unit, times a factor."""
    if isinstance(written, str):
        number, unit = split(written)
        return f"{float(number * Fraction(factor)):.6g} {unit}".strip()
    return float(f"{convert(written, '') * factor:.6g}")
