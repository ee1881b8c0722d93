"""Numbers with provenance in parameter sets, drugs and patients: value, range, status, source, note."""

import re
from typing import Any

from niche_sim.config.problems import Path, suggest
from niche_sim.config.report import Report
from niche_sim.errors import InputError
from niche_sim.parameters import STATUSES, Parameter, ParameterSet, check_range
from niche_sim.units import convert, describe, inside_unit, quote, split

LEAF_KEYS = ["value", "range", "status", "source", "note"]
_SOURCE = re.compile(r"[A-Za-z0-9_:-]{1,80}(\s*,\s*[A-Za-z0-9_:-]{1,80}){0,9}")
_NEED_NO_PAPER = ("assumed", "model")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


def read_number(
    report: Report,
    path: Path,
    unit: str | None,
    name: str,
    bounds: tuple[float, float] | None = None,
    extra: tuple[str, ...] = (),
) -> Parameter | None:
    """Return the number at a path, or None after noting its mistakes.

    Parameters
    ----------
    report : Report
    path : tuple
    unit : str or None
        Any unit of the expected dimension; None takes that of the value itself.
    name : str
        Name of the number.
    bounds : tuple of float, optional
        What is possible at all, in inside units.
    extra : tuple of str
        Other keys that may stand beside the number.
    """
    before = len(report.problems)
    if not report.check_keys(path, [*LEAF_KEYS, *extra], LEAF_KEYS[:4]):
        return None
    leaf = report.document.get(path)
    if "value" not in leaf:
        return None
    if unit is None:
        unit = report.attempt((*path, "value"), "unit", _find_unit, leaf["value"])
        if unit is None:
            return None
    value = report.attempt((*path, "value"), "unit", convert, leaf["value"], unit)
    limits = _read_range(report, path, leaf, unit)
    check_provenance(report, path, leaf)
    if value is not None and limits is not None:
        if bounds and not bounds[0] <= value <= bounds[1]:
            text = _write_bounds(bounds, unit)
            report.add((*path, "value"), "range", f"{quote(leaf['value'])} is not possible; expected {text}")
        else:
            report.attempt((*path, "value"), "range", check_range, value, leaf["value"], limits, leaf["range"])
    if len(report.problems) > before or value is None or limits is None:
        return None
    low, high = leaf["range"]
    return Parameter(
        name,
        value,
        _tidy(leaf["value"]),
        limits,
        (_tidy(low), _tidy(high)),
        leaf["status"],
        leaf["source"],
        leaf.get("note") or "",
    )


def _tidy(value: Any) -> str | float:
    return value if isinstance(value, str) else float(value)


def _write_bounds(bounds: tuple[float, float], unit: str) -> str:
    inside = inside_unit(unit)
    return f"{bounds[0]:.4g} to {bounds[1]:.4g}" + (f" {inside}" if inside else "")


def _find_unit(value: Any) -> str:
    """Return the inside unit of a value as written."""
    if isinstance(value, str):
        return inside_unit(split(value)[1])
    convert(value, "")
    return ""


def _read_range(report: Report, path: Path, leaf: dict[str, Any], unit: str) -> tuple[float, float] | None:
    if "range" not in leaf:
        return None
    here, written = (*path, "range"), leaf["range"]
    if not isinstance(written, list) or len(written) != 2:
        example = describe(unit)[1]
        report.add(here, "type", f"expected a lowest and a highest value, e.g. [{example!r}, {example!r}]")
        return None
    low, high = (report.attempt((*here, i), "unit", convert, item, unit) for i, item in enumerate(written))
    if low is None or high is None:
        return None
    if low > high:
        report.add(here, "range", f"the lowest value {quote(written[0])} is above the highest {quote(written[1])}")
        return None
    return low, high


def check_provenance(report: Report, path: Path, leaf: dict[str, Any]) -> None:
    """Note what is wrong with status, source and note of a number."""
    status, source, note = leaf.get("status"), leaf.get("source"), leaf.get("note")
    if "status" in leaf and status not in STATUSES:
        hint = suggest(status, STATUSES)
        report.add((*path, "status"), "value", f"unknown status {quote(status)}{hint}")
    if "source" in leaf:
        if not isinstance(source, str) or not _SOURCE.fullmatch(source):
            report.add((*path, "source"), "value", f"expected a key of references.bib or none, not {quote(source)}")
        elif source == "none" and status in STATUSES and status not in _NEED_NO_PAPER:
            report.add((*path, "source"), "value", f"a {status} number needs a source; without one it is assumed")
    if note is not None and not isinstance(note, str):
        report.add((*path, "note"), "type", f"expected a text, not {quote(note)}")


def read_parameters(report: Report, path: Path, layout: dict[str, str] | None, name: str) -> ParameterSet | None:
    """Return the parameter set at a path, or None after noting its mistakes.

    Parameters
    ----------
    layout : dict of dotted name to unit, or None
        The names and dimensions to expect; None for the set that defines them.
    name : str
        Name of the set.
    """
    if path in report.broken:
        return None
    data = report.document.get(path)
    if not isinstance(data, dict) or not data:
        report.fail(path, "type", "expected groups of parameters: group: {name: {value: ..., range: ...}}")
        return None
    entries: dict[str, Parameter | None] = {}
    for group, leaves in data.items():
        _read_group(report, (*path, group), leaves, layout, entries)
    for missing in (layout or {}).keys() - entries.keys():
        group, _, key = missing.partition(".")
        if group not in data or isinstance(data[group], dict):
            report.add((*path, group, key), "missing", f"missing: the set needs {missing!r}", key=True)
    found = {key: item for key, item in entries.items() if item is not None}
    if len(found) < len(entries) or (layout and found.keys() != layout.keys()):
        return None
    return ParameterSet(found, name)


def _read_group(
    report: Report,
    path: Path,
    leaves: Any,
    layout: dict[str, str] | None,
    entries: dict[str, Parameter | None],
) -> None:
    group = str(path[-1])
    if layout is not None and not any(name.startswith(f"{group}.") for name in layout):
        groups = list(dict.fromkeys(name.partition(".")[0] for name in layout))
        report.fail(path, "unknown", f"unknown group of parameters{suggest(group, groups)}", key=True)
        return
    if not isinstance(leaves, dict):
        report.fail(path, "type", "expected parameters: name: {value: ..., range: ...}")
        entries[group] = None
        return
    for key in leaves:
        name = f"{group}.{key}"
        if not (_WORD.fullmatch(key) and _WORD.fullmatch(group)):
            report.add((*path, key), "value", "a name is made of letters, digits and _", key=True)
            entries[name] = None
        elif layout is not None and name not in layout:
            known = [known.partition(".")[2] for known in layout if known.startswith(f"{group}.")]
            report.add((*path, key), "unknown", f"unknown parameter{suggest(key, known)}", key=True)
        else:
            entries[name] = read_number(report, (*path, key), None if layout is None else layout[name], name)


def check_override(report: Report, path: Path, parameters: ParameterSet | None) -> dict[str, str | float]:
    """Return the overrides at a path that fit the parameters; mistakes are noted."""
    data = report.document.get(path)
    if data is None:
        return {}
    if not isinstance(data, dict):
        report.fail(path, "type", "expected parameters: group.name: value")
        return {}
    if parameters is None:
        return {}
    fitting: dict[str, str | float] = {}
    for name, value in data.items():
        if name not in parameters:
            report.add((*path, name), "unknown", f"unknown parameter{suggest(name, parameters)}", key=True)
            continue
        try:
            fitting[name] = parameters[name].replace(value).written
        except InputError as error:
            code = "range" if "outside the range" in str(error) else "unit"
            report.add((*path, name), code, str(error))
    return fitting
