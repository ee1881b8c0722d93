"""What of an experiment can be changed by hand: parameters, switches, fields of a course, drugs; and what to begin with."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from niche_sim.config.assembly import is_read_once
from niche_sim.config.checks import list_routes
from niche_sim.config.courses import read_regimen, tidy_time
from niche_sim.config.drugs import DrugFile
from niche_sim.config.editing import find_arm, find_parameters, find_switches
from niche_sim.config.experiment import Experiment
from niche_sim.config.gate import build_experiment, load_drug, load_experiment
from niche_sim.config.library import find_experiment, list_experiments, list_names, read_named, read_title
from niche_sim.config.schema import EFFECTS, PROCESSES, CourseModel
from niche_sim.errors import InputError
from niche_sim.resources import configs_dir
from niche_sim.units import split, write


@dataclass(frozen=True)
class ParameterChoice:
    """A parameter as it stands in an arm: number and unit apart, as texts.

    `usual` is the value of the experiment's set, `changed` whether another holds; `status`, `source` and `note` speak for
    the usual one. What is `read_once` can be changed at the start of an arm only.
    """

    name: str
    number: str
    unit: str
    low: str
    high: str
    status: str
    source: str
    note: str
    usual: str
    changed: bool
    read_once: bool

    @property
    def group(self) -> str:
        """The group of the parameter."""
        return self.name.partition(".")[0]

    @property
    def key(self) -> str:
        """The name inside the group."""
        return self.name.partition(".")[2]


@dataclass(frozen=True)
class SwitchChoice:
    """A switch as it stands in an arm; `usual` is that of the experiment."""

    name: str
    is_process: bool
    words: str
    on: bool
    usual: bool


@dataclass(frozen=True)
class FieldChoice:
    """A key of a course: its label, what may stand there, its default as text, and its words if it is one of a few."""

    key: str
    label: str
    expected: str
    default: str
    words: tuple[str, ...] = ()
    needed: bool = False


@dataclass(frozen=True)
class DrugChoice:
    """A drug that can be given: its routes, its own first, and on each the dose and infusion that are usual, or empty."""

    name: str
    title: str
    routes: tuple[str, ...]
    usual: dict[str, tuple[str, str]]


@dataclass(frozen=True)
class Preset:
    """A shipped file to begin with; `facts` says how large an experiment is."""

    kind: str
    name: str
    title: str
    note: str
    facts: str = ""


# ---------------------------------------------------------------- of an experiment


def list_parameters(mapping: Mapping[str, Any], arm: str, moment_h: float = 0.0) -> list[ParameterChoice]:
    """Return every parameter as it stands in an arm from a moment on, in the order of the set."""
    experiment = build_experiment(mapping)
    find_arm(mapping, arm)
    held, usual = find_parameters(experiment, arm, moment_h), experiment.parameters
    return [_describe(held[name], usual[name]) for name in held]


def _describe(item: Any, usual: Any) -> ParameterChoice:
    low, high = (write_value(bound) for bound in item.written_range)
    number = write_value(item.written)
    unit = item.unit
    return ParameterChoice(
        item.name, number.removesuffix(unit).strip() if unit else number, unit, low, high, usual.status, usual.source,
        usual.note, write_value(usual.written), item.value != usual.value, is_read_once(item.name),
    )  # fmt: skip


def write_value(written: str | float) -> str:
    """Return a value as its text in a file."""
    text = written if isinstance(written, str) else repr(float(written))
    return text.removesuffix(".0")


def complete(text: str, unit: str) -> str | float:
    """Return what was typed beside a unit as a value of a file: a bare number takes the unit, another text stays.

    A plain number (no unit) becomes a number, so that the file holds it as one.
    """
    try:
        number, written = split(text)
    except InputError:
        return text
    if written:
        return text.strip()
    return f"{text.strip()} {unit}" if unit else float(number)


def list_switches(mapping: Mapping[str, Any], arm: str, moment_h: float = 0.0) -> list[SwitchChoice]:
    """Return every switch as it stands in an arm from a moment on, processes first."""
    experiment = build_experiment(mapping)
    find_arm(mapping, arm)
    held, usual = find_switches(experiment, arm, moment_h), experiment.switches
    every = (PROCESSES | EFFECTS).items()
    return [SwitchChoice(name, name in PROCESSES, words, held[name], usual[name]) for name, words in every]


# ---------------------------------------------------------------- courses and drugs


@lru_cache(maxsize=1)
def list_fields() -> tuple[FieldChoice, ...]:
    """Return the keys of a course in their order, from its JSON Schema."""
    schema = CourseModel.model_json_schema(by_alias=True)
    return tuple(_read_field(key, entry, schema["required"]) for key, entry in schema["properties"].items())


def _read_field(key: str, entry: dict[str, Any], required: list[str]) -> FieldChoice:
    inner = entry["anyOf"][0] if "anyOf" in entry else entry
    default = entry.get("default")
    expected = inner.get("description", "")
    if inner["type"] == "integer":
        expected = f"a whole number, {inner['minimum']} to {inner['maximum']}"
    elif inner["type"] == "array":
        expected = "whole numbers from 1 on"
    default = "" if default in (None, []) else str(write(float(default), "h")) if key == "start" else write_value(default)
    return FieldChoice(key, entry["title"], expected, default, tuple(inner.get("enum", ())), key in required)


def write_fields(course: Mapping[str, Any]) -> dict[str, str]:
    """Return a course as the texts of its fields; what is left out is empty."""
    texts = {}
    for field in list_fields():
        value = course.get(field.key)
        if isinstance(value, list):
            value = ", ".join(str(number) for number in value)
        texts[field.key] = "" if value is None else tidy_time(value) if isinstance(value, str) else write_value(value)
    return texts


def read_fields(texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the course that the texts of fields write; what cannot be read stays a text, which the gate refuses."""
    course: dict[str, Any] = {}
    for field in list_fields():
        text = texts.get(field.key, "").strip()
        if not text:
            continue
        if field.key == "missed":
            course["missed"] = [_read_whole(part.strip()) for part in text.split(",") if part.strip()]
        elif field.key == "doses":
            course["doses"] = _read_whole(text)
        else:
            course[field.key] = complete(text, "") if field.key == "adherence" else text
    return course


def _read_whole(text: str) -> int | str:
    return int(text) if text.isdecimal() and len(text) < 20 else text


def list_drugs(mapping: Mapping[str, Any] | None = None) -> list[DrugChoice]:
    """Return the drugs that can be given, in alphabetical order: the shipped ones and those of an experiment."""
    own = build_experiment(mapping).drugs if mapping is not None else {}
    names = sorted({*own, *list_names("drugs")})
    return [_describe_drug(own[name]) if name in own else _read_drug(name) for name in names]


@lru_cache(maxsize=64)
def _read_drug(name: str) -> DrugChoice:
    return _describe_drug(load_drug(name))


def _describe_drug(drug: DrugFile) -> DrugChoice:
    routes = list_routes(drug)
    usual = {route: find_usual_dose(drug.name, route, drug.route) for route in routes}
    if not usual[drug.route][0]:
        usual[drug.route] = (_find_reference_dose(drug.mapping), "")
    return DrugChoice(drug.name, drug.title, tuple(routes), usual)


def find_usual_dose(drug: str, route: str, own_route: str) -> tuple[str, str]:
    """Return dose and infusion that most courses of shipped regimens give of a drug on a route; empty if none gives it."""
    counts = Counter(
        (course["dose"], course.get("infusion", ""))
        for courses in _list_shipped().values() for course in courses
        if course["drug"] == drug and course.get("route", own_route) == route
    )  # fmt: skip
    return counts.most_common(1)[0][0] if counts else ("", "")


@lru_cache(maxsize=1)
def _list_shipped() -> dict[str, list[dict[str, Any]]]:
    return {name: read_regimen(name) for name in list_names("regimens")}


def _find_reference_dose(part: Any) -> str:
    """Return the dose to which the effects of a drug's file refer, or nothing."""
    for key, inner in part.items() if isinstance(part, dict) else ():
        found = inner["value"] if key == "reference_dose" else _find_reference_dose(inner)
        if found:
            return str(found)
    return ""


# ---------------------------------------------------------------- what to begin with


@lru_cache(maxsize=8)
def list_presets(kind: str) -> tuple[Preset, ...]:
    """Return the shipped files of a kind, one of `experiments`, `patients`, `scenes`, `regimens`, with title and note."""
    if kind == "experiments":
        return tuple(_describe_experiment(load_experiment(name)) for name in list_experiments())
    return tuple(_describe_file(kind, name) for name in list_names(kind))


def _describe_file(kind: str, name: str) -> Preset:
    data = read_named(configs_dir() / kind / f"{name}.yaml").data
    note = data.get("note") if isinstance(data, dict) else ""
    return Preset(kind, name, read_title(kind, name), " ".join(str(note or "").split()))


def _describe_experiment(experiment: Experiment) -> Preset:
    size = getattr(experiment.scene, "size_um", None)
    voxels = " x ".join(f"{edge / experiment.scene.voxel_um:.0f}" for edge in size) + " voxels" if size else "an image"
    cells = experiment.population.dormant_dtc + experiment.population.cycling_dtc
    facts = f"{len(experiment.arms)} arms, {_name_span(experiment.length_h)}, {voxels}, {cells} tumour cells"
    note = _read_question(experiment.name) or " ".join(experiment.note.split())
    return Preset("experiments", experiment.name, experiment.title, note, facts)


def _read_question(name: str) -> str:
    """Return the question that the notes of a shipped experiment begin with, or nothing."""
    notes = find_experiment(name).with_name("notes.md")
    text = notes.read_text(encoding="utf-8") if notes.is_file() else ""
    found = re.search(r"\*\*Question\.?\*\*(?: \([^)]*\)\.)?(.*?)\n\n", text, re.DOTALL)
    return " ".join(found.group(1).replace("`", "").split()) if found else ""


def shorten(name: str) -> tuple[dict[str, str], str]:
    """Return settings of `load_experiment` for a quick look at a shipped experiment, and what to say about it.

    The spin-up is cut too, so that bone has not come to its steady remodelling: a look is not for numbers.
    """
    experiment = load_experiment(name)
    settings, said = {}, []
    for key, most_h, has_h in (("length", 4320.0, experiment.length_h), ("spin_up", 1440.0, experiment.spin_up_h)):
        if has_h > most_h:
            settings[f"time.{key}"] = str(write(most_h, "h"))
            said.append(f"{key.replace('_', '-')} {_name_span(most_h)} instead of {_name_span(has_h)}")
    if not said:
        return {}, ""
    words = ", ".join(said)
    return settings, f"{words[0].upper()}{words[1:]}: to look around, not for numbers, as bone has not come to rest."


def _name_span(hours: float) -> str:
    days = hours / 24.0
    return f"{days:.4g} d" if days < 300 else f"{days / 365.25:.3g} yr"
