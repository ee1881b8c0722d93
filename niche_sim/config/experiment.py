"""The experiment as the engine takes it: checked, resolved, in inside units."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import BaseModel

from niche_sim.config.drugs import DrugFile
from niche_sim.config.patients import PatientFile
from niche_sim.config.schema import PopulationModel, RecordModel, SceneSpec
from niche_sim.config.spread import Spread
from niche_sim.drugs import Drug
from niche_sim.host import Patient
from niche_sim.parameters import ParameterSet
from niche_sim.regimens import Course
from niche_sim.units import write

_SUFFIXES = {"um": "um", "h": "h", "mg": "mg"}
_CAN_BE_OFF = ("series_h", "cells_h", "fields_h", "ledgers_h")


@dataclass(frozen=True)
class Change:
    """What becomes different in an arm from `at_h` on: parameters as written, and switches."""

    at_h: float
    override: dict[str, str | float] = field(default_factory=dict)
    switches: dict[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Arm:
    """One arm.

    Attributes
    ----------
    regimen : list of niche_sim.regimens.Course
    override : dict of dotted name to value as written
        What differs from the experiment's parameters.
    switches : dict of str to bool
        What differs from the experiment's switches.
    changes : list of Change
        What becomes different while the arm runs, in order of time.
    """

    regimen: list[Course] = field(default_factory=list)
    override: dict[str, str | float] = field(default_factory=dict)
    switches: dict[str, bool] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)


@dataclass(frozen=True)
class Experiment:
    """A checked experiment.

    Attributes
    ----------
    name, title, note : str
    seed : int
        0 to 2**64 - 1.
    length_h, tick_h, spin_up_h : float
        Hours; length and spin-up are whole numbers of ticks.
    scene : GeneratedScene or ImageScene
        ``kind, voxel_um, periodic, seed, ...``; ``plain()`` gives its keys with values in inside units.
    patient : PatientFile
    population : PopulationModel
        ``dormant_dtc``, ``cycling_dtc``.
    parameters : ParameterSet
        With the experiment's overrides.
    drugs : dict of str to DrugFile
        Those given, by name in alphabetical order.
    switches : dict of str to bool
        Every process and effect.
    arms : dict of str to Arm
    record : RecordModel
        ``series_h, cells_h, fields_h, ledgers_h`` (None is off), ``events``, ``pictures_h``
        (a list of times, or the interval between them).
    spread : tuple of Spread
        How the patients of a cohort differ.
    """

    name: str
    title: str
    note: str
    seed: int
    length_h: float
    tick_h: float
    spin_up_h: float
    scene: SceneSpec
    patient: PatientFile
    population: PopulationModel
    parameters: ParameterSet
    drugs: dict[str, DrugFile]
    switches: dict[str, bool]
    arms: dict[str, Arm]
    record: RecordModel
    spread: tuple[Spread, ...] = ()

    def arm_parameters(self, name: str) -> ParameterSet:
        """Return the parameters of an arm, its overrides applied."""
        return self.parameters.override(self.arms[name].override)

    def arm_switches(self, name: str) -> dict[str, bool]:
        """Return every switch of an arm."""
        return self.switches | self.arms[name].switches

    def host_drugs(self) -> dict[str, Drug]:
        """Return the drugs as the host takes them."""
        return {name: file.drug for name, file in self.drugs.items()}

    def host_patient(self) -> Patient:
        """Return the patient as the host takes it."""
        return self.patient.host

    @property
    def config_hash(self) -> str:
        """SHA-256 of the resolved experiment as canonical JSON."""
        text = json.dumps(self.resolved(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def resolved(self) -> dict[str, Any]:
        """Return the whole experiment as a mapping: written as YAML it is an experiment file of its own."""
        resolved = {
            "name": self.name,
            "title": self.title,
            "note": self.note,
            "seed": self.seed,
            "time": {
                "length": write(self.length_h, "h"),
                "tick": write(self.tick_h, "h"),
                "spin_up": write(self.spin_up_h, "h"),
            },
            "population": self.population.model_dump(),
            "arms": {name: write_arm(arm) for name, arm in self.arms.items()},
            "switches": dict(self.switches),
            "record": write_model(self.record),
            "scene": write_model(self.scene),
            "patient": _copy(self.patient.mapping),
            "drugs": {name: _copy(file.mapping) for name, file in self.drugs.items()},
            "parameters": self.parameters.plain(),
        }
        # An experiment without spread keeps the hash that it had before there was one.
        return resolved | ({"spread": [_copy(entry.written) for entry in self.spread]} if self.spread else {})


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(inner) for key, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list) else value


def write_arm(arm: Arm) -> dict[str, Any]:
    """Return an arm with the keys and units of its file."""
    courses = [_write_course(course) for course in arm.regimen]
    written = {"regimen": courses, "override": dict(arm.override), "switches": dict(arm.switches)}
    changes = [
        {"at": write(change.at_h, "h"), "override": dict(change.override), "switches": dict(change.switches)}
        for change in arm.changes
    ]
    return written | ({"changes": changes} if changes else {})


def _write_course(course: Course) -> dict[str, Any]:
    items = {name: value for name, value in asdict(course).items() if value is not None}
    # What changes nothing is not written, so that a course with it is the course without it, to the hash.
    if course.adherence == 1.0:
        del items["adherence"]
    missed = {"missed": list(items.pop("missed"))} if course.missed else {}
    items.pop("missed", None)
    return dict(_write_field(name, value) for name, value in items.items()) | missed


def _write_field(name: str, value: Any) -> tuple[str, Any]:
    """Return the key and the text of an attribute whose name ends in its unit."""
    key, _, suffix = name.rpartition("_")
    if suffix not in _SUFFIXES:
        return name, value
    unit = _SUFFIXES[suffix]
    if isinstance(value, (list, tuple)):
        return key, [write(item, unit) for item in value]
    return key, write(value, unit)


def write_model(model: BaseModel) -> dict[str, Any]:
    """Return a model with the keys and units of its file; what is off is false."""
    written = {}
    for name in type(model).model_fields:
        value = getattr(model, name)
        if value is None and name in _CAN_BE_OFF:
            written[name.removesuffix("_h")] = False
        elif value is not None:
            key, text = _write_field(name, value)
            written[key] = text
    return written
