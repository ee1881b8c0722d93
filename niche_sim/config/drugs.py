"""Drug files: their text keys, their numbers with provenance, and the drug that the host gives."""

import re
from dataclasses import dataclass
from typing import Any

from niche_sim.config.numbers import read_number
from niche_sim.config.problems import Path, suggest
from niche_sim.config.report import Report
from niche_sim.drugs import (
    CLASSES,
    CYTOTOXIC,
    DRUG_LAYOUT,
    DRUG_TEXT,
    IN_A_WINDOW,
    Drug,
    Leaf,
    drug_from_mapping,
    find_fault,
    list_classes,
)
from niche_sim.errors import InputError
from niche_sim.kinds import MOST_TISSUES
from niche_sim.units import quote

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class DrugFile:
    """A drug as its file states it.

    Attributes
    ----------
    name, title, drug_class, route : str
    mapping : dict
        The whole file, numbers with unit, range, status, source and note.
    numbers : dict
        The same nesting with plain floats in the units of `niche_sim.drugs.DRUG_LAYOUT`.
    drug : niche_sim.drugs.Drug
    """

    name: str
    title: str
    drug_class: str
    route: str
    mapping: dict[str, Any]
    numbers: dict[str, Any]
    drug: Drug


def read_drug(report: Report, path: Path, name: str | None = None) -> DrugFile | None:
    """Return the drug at a path, or None after noting its mistakes; `name` is the name it must have."""
    before = len(report.problems)
    data = report.document.get(path)
    if not report.check_keys(path, [*DRUG_TEXT, *DRUG_LAYOUT], ["name", "class", "route"]):
        return None
    for key, words in DRUG_TEXT.items():
        _check_text(report, (*path, key), data, words)
    if name is not None and isinstance(data.get("name"), str) and data["name"] != name:
        report.add((*path, "name"), "name", f"the drug is called {quote(data['name'])}, but asked for as {name!r}")
    mapping = {key: data[key] for key in DRUG_TEXT if key in data}
    numbers: dict[str, Any] = {}
    _check_absorption(report, path, data)
    _read_group(report, path, DRUG_LAYOUT, str(data.get("class")), mapping, numbers)
    if len(report.problems) > before:
        return None
    try:
        drug = drug_from_mapping({key: data[key] for key in DRUG_TEXT if key in data} | numbers)
    except InputError as error:
        report.add(path, "range", str(error))
        return None
    return DrugFile(drug.name, str(data.get("title", "")), drug.drug_class, drug.route, mapping, numbers, drug)


def _check_absorption(report: Report, path: Path, data: dict[str, Any]) -> None:
    """Note what is missing for a drug that is not injected into blood."""
    if data.get("route") in ("oral", "sc") and data.get("class") not in IN_A_WINDOW:
        for key in ("absorbed_fraction", "absorption_rate"):
            if key not in data:
                report.add((*path, key), "missing", f"missing: a drug given {data['route']} needs it", key=True)


def _check_text(report: Report, path: Path, data: dict[str, Any], words: tuple[str, ...]) -> None:
    key = path[-1]
    if key not in data:
        return
    value = data[key]
    if not isinstance(value, str) or not 0 < len(value) <= 300:
        report.add(path, "type", f"expected a text, not {quote(value)}")
    elif words and value not in words:
        hint = "; what goes into a muscle is absorbed like sc" if value in ("im", "intramuscular") else suggest(value, words)
        report.add(path, "value", f"unknown {key} {quote(value)}{hint}")
    elif key == "name" and not _NAME.fullmatch(value):
        report.add(path, "value", f"a name is at most 64 letters, digits, _, - and ., not {quote(value)}")


def _read_group(
    report: Report,
    path: Path,
    layout: dict[str, Any],
    drug_class: str,
    mapping: dict[str, Any],
    numbers: dict[str, Any],
) -> None:
    """Read what a part of the layout lists, in its order."""
    data = report.document.get(path)
    for key, entry in layout.items():
        here = (*path, key)
        if key not in data:
            _note_missing(report, here, entry, drug_class)
        elif isinstance(entry, dict) and drug_class in CLASSES and drug_class not in _list_owners(key, entry):
            owners = " or ".join(_list_owners(key, entry))
            report.fail(here, "value", f"the class {drug_class} has no {key}; that belongs to {owners}", key=True)
        elif isinstance(entry, Leaf):
            mapping[key], numbers[key] = _read_leaf(report, here, entry)
        elif isinstance(entry, list):
            mapping[key], numbers[key] = _read_tissues(report, here, entry[0])
        elif report.check_keys(here, list(entry), []):
            mapping[key], numbers[key] = {}, {}
            _read_group(report, here, entry, drug_class, mapping[key], numbers[key])


def _list_owners(key: str, layout: dict[str, Any]) -> tuple[str, ...]:
    """Return the classes that a group belongs to; chemotherapy stops the ovary too."""
    return (*list_classes(layout), *(CYTOTOXIC if key == "ovary" else ()))


def _read_leaf(report: Report, path: Path, entry: Leaf) -> tuple[dict[str, Any], float]:
    number = read_number(report, path, entry.unit, ".".join(str(key) for key in path))
    if number is None:
        return {}, 0.0
    fault = find_fault(entry.field, number.value)
    if fault:
        report.add((*path, "value"), "range", fault)
    return number.plain(), number.value


def _read_tissues(report: Report, path: Path, layout: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    data = report.document.get(path)
    if not isinstance(data, list) or len(data) > MOST_TISSUES:
        report.fail(path, "type", f"expected a list of at most {MOST_TISSUES} tissues, each volume and clearance")
        return [], []
    mappings: list[Any] = []
    numbers: list[Any] = []
    for i in range(len(data)):
        if report.check_keys((*path, i), list(layout), list(layout)):
            mappings.append({})
            numbers.append({})
            _read_group(report, (*path, i), layout, "", mappings[-1], numbers[-1])
    return mappings, numbers


def _note_missing(report: Report, path: Path, entry: Any, drug_class: str) -> None:
    """Note every number that the class of the drug needs at or below a path that is not there."""
    if isinstance(entry, Leaf):
        if drug_class in entry.required_for:
            report.add(path, "missing", f"missing: the class {drug_class} needs it", key=True)
    elif isinstance(entry, dict):
        for key, inner in entry.items():
            _note_missing(report, (*path, key), inner, drug_class)
