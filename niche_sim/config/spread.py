"""The `spread:` of an experiment: how the patients of a cohort differ, each entry one number of the experiment."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from niche_sim.config.drugs import DrugFile
from niche_sim.config.numbers import check_provenance
from niche_sim.config.patients import PatientFile
from niche_sim.config.problems import Path, suggest
from niche_sim.config.report import Report
from niche_sim.config.schema import SpreadModel
from niche_sim.drugs import DRUG_LAYOUT, Leaf
from niche_sim.errors import InputError
from niche_sim.parameters import ParameterSet
from niche_sim.units import convert, inside_unit, quote, split, write

CURVES = ("activation_frequency", "bone_balance", "rankl_factor", "oestradiol")
"""Curves of a patient that may differ; each is multiplied by one factor at all its times."""
_HOST_FIELDS = {"activation_frequency": "activation"}


@dataclass(frozen=True)
class Spread:
    """One number that differs between patients.

    Attributes
    ----------
    name : str
    cv : float
        Coefficient of variation, before truncation.
    distribution : str
        ``lognormal`` (the value is the median) or ``normal`` (it is the mean).
    low, high : float
        Factors of the value at which the distribution is truncated.
    written : dict
        The entry as its file has it.
    """

    name: str
    cv: float
    distribution: str
    low: float
    high: float
    written: dict[str, Any]


def read_spread(
    report: Report, parameters: ParameterSet, patient: PatientFile | None, drugs: Mapping[str, DrugFile],
    arms: Mapping[str, Any],
) -> tuple[Spread, ...]:  # fmt: skip
    """Return what differs between patients; mistakes are noted, those of the shape by the model."""
    data = report.document.get(("spread",))
    found: dict[str, Spread] = {}
    for i, entry in enumerate(data) if isinstance(data, list) else ():
        path: Path = ("spread", i)
        model = report.read_part(SpreadModel, path)
        if model is None:
            continue
        check_provenance(report, path, entry)
        if model.name in found:
            report.add((*path, "name"), "duplicate", f"{quote(model.name)} is spread twice; write one entry")
        for arm, held in arms.items():
            if model.name in held.override or any(model.name in change.override for change in held.changes):
                message = f"arm {arm!r} overrides {quote(model.name)}: a patient has one value in every arm"
                report.add((*path, "name"), "value", message)
        limits = _find_limits(report, path, model, parameters, patient, drugs)
        if limits is not None:
            found[model.name] = Spread(model.name, model.cv, model.distribution, *limits, dict(entry))
    return tuple(found.values())


def _list_faulty(report: Report, drugs: Mapping[str, DrugFile]) -> list[Path]:
    """Return the drugs that the experiment holds and that could not be read."""
    held = report.document.get(("drugs",))
    return [("drugs", name) for name in held if name not in drugs] if isinstance(held, dict) else []


def _find_limits(
    report: Report, path: Path, model: SpreadModel, parameters: ParameterSet, patient: PatientFile | None,
    drugs: Mapping[str, DrugFile],
) -> tuple[float, float] | None:  # fmt: skip
    """Return the factors at which a spread is truncated: the ends of the range over the value."""
    try:
        leaves, unit = _find_leaves(model.name, parameters, patient, drugs)
    except InputError as error:
        head, _, rest = model.name.partition(".")
        # A drug whose file has mistakes is not there either: those are said already.
        if head != "drugs" or ("drugs", rest.partition(".")[0]) not in _list_faulty(report, drugs):
            report.add((*path, "name"), "name", str(error))
        return None
    before = len(report.problems)
    low, high = 0.0, float("inf")
    for leaf in leaves:
        value = convert(leaf["value"], unit)
        if value <= 0.0:
            report.add((*path, "name"), "value", f"{quote(model.name)} is {leaf['value']}: a factor cannot spread it")
            return None
        ends = _read_range(report, path, model, leaf, unit, model.name in parameters)
        if ends is not None:
            low, high = max(low, ends[0] / value), min(high, ends[1] / value)
    if len(report.problems) == before and not low <= 1.0 <= high:
        report.add((*path, "name"), "range", f"the value of {quote(model.name)} is not inside the range of its spread")
    return (low, high) if len(report.problems) == before else None


def _read_range(
    report: Report, path: Path, model: SpreadModel, leaf: Mapping[str, Any], unit: str, bound: bool
) -> tuple[float, float] | None:
    """Return the lowest and highest value: those of the entry, else those of the number itself."""
    own = tuple(convert(end, unit) for end in leaf["range"])
    if model.range is None:
        return own[0], own[1]
    ends = [report.attempt((*path, "range", i), "unit", convert, end, unit) for i, end in enumerate(model.range)]
    if None in ends:
        return None
    if not 0.0 <= ends[0] < ends[1]:
        report.add((*path, "range"), "range", "expected a lowest value from 0 on and a higher one")
    elif bound and not (own[0] <= ends[0] and ends[1] <= own[1]):
        texts = " to ".join(str(end) for end in leaf["range"])
        report.add((*path, "range"), "range", f"is wider than the range of the parameter, {texts}")
    return ends[0], ends[1]


def _find_leaves(
    name: str, parameters: ParameterSet, patient: PatientFile | None, drugs: Mapping[str, DrugFile]
) -> tuple[list[Mapping[str, Any]], str]:
    """Return the numbers that a name means, as written, and their unit.

    Raises
    ------
    InputError
        Nothing has this name.
    """
    if name in parameters:
        return [parameters[name].plain()], parameters[name].inside_unit
    head, *keys = name.split(".")
    if head == "patient":
        if patient is None or keys not in [[curve] for curve in CURVES]:
            known = [f"patient.{curve}" for curve in CURVES]
            raise InputError(f"unknown number of a patient {quote(name)}{suggest(name, known)}")
        curve = patient.mapping[keys[0]]
        points = curve if isinstance(curve, list) else [curve]
        return points, _unit_of(points[0])
    if head == "drugs":
        return [_find_drug_leaf(name, keys, drugs)], find_leaf(keys[1:]).unit
    known = [*parameters, *(f"patient.{curve}" for curve in CURVES)]
    raise InputError(f"neither a parameter nor a number of patient or drugs: {quote(name)}{suggest(name, known)}")


def _unit_of(leaf: Mapping[str, Any]) -> str:
    return inside_unit(split(leaf["value"])[1]) if isinstance(leaf["value"], str) else ""


def _find_drug_leaf(name: str, keys: list[str], drugs: Mapping[str, DrugFile]) -> Mapping[str, Any]:
    if keys[0] not in drugs:
        raise InputError(f"no arm gives the drug {quote(keys[0])}{suggest(keys[0], drugs)}")
    find_leaf(keys[1:])
    leaf: Any = drugs[keys[0]].mapping
    for key in keys[1:]:
        if key not in leaf:
            raise InputError(f"the drug {keys[0]!r} has no number {'.'.join(keys[1:])!r}")
        leaf = leaf[key]
    return leaf


def find_leaf(keys: list[str]) -> Leaf:
    """Return the number of a drug file at a path of keys.

    Raises
    ------
    InputError
        There is no such number.
    """
    entry: Any = DRUG_LAYOUT
    for key in keys:
        if not isinstance(entry, dict) or key not in entry:
            near = suggest(key, entry) if isinstance(entry, dict) else ""
            raise InputError(f"no number of a drug is called {'.'.join(keys)!r}{near}")
        entry = entry[key]
    if not isinstance(entry, Leaf):
        raise InputError(f"{'.'.join(keys)!r} is a group of numbers; name one of them")
    return entry


def vary(experiment: Any, factors: Mapping[str, float]) -> Any:
    """Return the experiment of one patient: every spread number multiplied by her factor.

    Parameters
    ----------
    experiment : Experiment
    factors : mapping of name to float
        By the name of a `Spread` of the experiment.
    """
    parameters, patient, drugs = experiment.parameters, experiment.patient, dict(experiment.drugs)
    for name, factor in factors.items():
        head, *keys = name.split(".")
        if name in parameters:
            item = parameters[name]
            value = min(max(item.value * factor, item.range[0]), item.range[1])  # an end of the range, up to rounding
            parameters = parameters.override({name: write(value, item.inside_unit)})
        elif head == "patient":
            curve = _HOST_FIELDS.get(keys[0], keys[0])
            values = tuple(value * factor for value in getattr(patient.host, curve))
            patient = replace(patient, host=replace(patient.host, **{curve: values}))
        else:
            held, field = drugs[keys[0]], find_leaf(keys[1:]).field
            drugs[keys[0]] = replace(held, drug=replace(held.drug, **{field: getattr(held.drug, field) * factor}))
    return replace(experiment, parameters=parameters, patient=patient, drugs=drugs)
