"""Models that others wrote in SBML (Levels 2 and 3): read as text of a stranger, solved in a process of their own.

Refused before any library sees them: more than 2 MB, document types and entities, nesting beyond 100, packages that change
the mathematics, delays, algebraic rules, fast reactions. Notes, annotations and packages that may be ignored are taken out,
so nothing is read but the text itself. A parameter or starting value that is replaced is written into the text, so that
initial assignments which depend on it follow. `niche_sim.sbml_worker` integrates with libRoadRunner (Somogyi et al. 2015,
Bioinformatics 31:3315; CVODE, relative tolerance 1e-10) within 60 s and 4 GB.
"""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np

from niche_sim.errors import InputError, NumericalError
from niche_sim.resources import configs_dir
from niche_sim.units import quote

MOST_BYTES, MOST_DEPTH, MOST_ELEMENTS = 2_000_000, 100, 50_000
SECONDS, MEMORY = 60.0, 4 * 2**30
SUFFIXES = (".xml", ".sbml")
_CORE = re.compile(r"http://www\.sbml\.org/sbml/level(2(/version[2-5])?|3/version[12]/core)")
_ANY = re.compile(r"http://www\.sbml\.org/sbml/level\d.*")
_MATH = "http://www.w3.org/1998/Math/MathML"
_LEFT_OUT = ("notes", "annotation")
_RATE = "niche_sim_rate_of_"  # begins the names of what is added to read the rates of rate rules
_HOURS = 3600.0  # seconds
_WORKER = Path(__file__).with_name("sbml_worker.py")


@dataclass(frozen=True)
class State:
    """A variable that the model moves: what the library calls its value and its rate, and what the rate is divided by."""

    name: str
    selection: str
    rate: str
    volume: str
    unit: str


@dataclass(frozen=True)
class Model:
    """A model as its text states it.

    Attributes
    ----------
    source : str
        Name or path, for messages.
    text : str
        Without notes, annotations and packages.
    digest : str
        SHA-256 of the file.
    time_h : float or None
        Its unit of time; None if it states none.
    states : dict of str to State
        What moves: species and targets of rate rules.
    outputs : dict of str to str
        Every symbol with a value, and what the library calls it.
    parameters : tuple of str
        Constants that may be replaced.
    """

    source: str
    text: str
    digest: str
    time_h: float | None
    states: dict[str, State]
    outputs: dict[str, str]
    parameters: tuple[str, ...]


@dataclass(frozen=True)
class Pulse:
    """Parameters that differ between two times (h)."""

    start_h: float
    end_h: float
    parameters: dict[str, float]


@dataclass(frozen=True)
class Question:
    """What is asked of a model; times in h, rising from 0."""

    times_h: tuple[float, ...]
    outputs: tuple[str, ...]
    time_unit_h: float
    parameters: dict[str, float] = field(default_factory=dict)
    initial: dict[str, float] = field(default_factory=dict)
    pulses: Sequence[Pulse] = ()
    steady: bool = False
    from_rest: bool = False


@dataclass(frozen=True)
class Answer:
    """The course, shape (times, outputs); the steady states in the order of the model's states, and the rates there, 1/h."""

    course: np.ndarray
    steady: np.ndarray | None = None
    rates_h: np.ndarray | None = None


# ---------------------------------------------------------------- reading


def list_shipped() -> list[str]:
    """Return the names of the shipped models."""
    return sorted(path.stem for path in (configs_dir() / "sbml").glob("*.xml"))


def find_sbml(text: str, beside: Path) -> Path:
    """Return the file that a reference means: a shipped name, or a path from the folder `beside`.

    Raises
    ------
    InputError
        There is no such regular file.
    """
    if not text.endswith(SUFFIXES):
        if text in list_shipped():
            return configs_dir() / "sbml" / f"{text}.xml"
        names = ", ".join(list_shipped())
        raise InputError(f"unknown model {quote(text)}; shipped are {names}, and a file of yours ends in .xml or .sbml")
    path = beside / text
    try:
        if path.is_symlink():
            raise InputError(f"{quote(text)} is a link; name the file itself")
        if not path.is_file():
            raise InputError(f"{quote(text)} {'is not a regular file' if path.exists() else 'does not exist'}")
    except (OSError, ValueError):
        raise InputError(f"{quote(text)} is not a path") from None
    return path


def read_sbml(path: Path) -> Model:
    """Return the model of a file.

    Raises
    ------
    InputError
        The file cannot be read, is no SBML, or asks for what is not solved here; with the line where there is one.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path.name}: cannot be read: {error.strerror}") from None
    if len(content) > MOST_BYTES:
        raise InputError(f"{path.name}: is larger than {MOST_BYTES / 1e6:g} MB")
    _scan(content, path.name)
    root = ElementTree.fromstring(content)
    model = _simplify(root, path.name)
    _refuse_unsolved(model, path.name)
    text = '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, "unicode")
    states, outputs, parameters = _list_symbols(model)
    if not states:
        raise InputError(f"{path.name}: nothing moves in it: it has no reaction and no rate rule")
    return Model(path.name, text, hashlib.sha256(content).hexdigest(), _read_time(root, model), states, outputs, parameters)


def _scan(content: bytes, name: str) -> None:
    """Read the XML once without keeping it; nothing is expanded, fetched or nested without end."""
    parser = expat.ParserCreate()
    depth = elements = 0

    def refuse(reason: str) -> None:
        raise InputError(f"{name}:{parser.CurrentLineNumber}:{parser.CurrentColumnNumber + 1}: {reason}")

    def begin(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth, elements
        depth, elements = depth + 1, elements + 1
        if depth > MOST_DEPTH or elements > MOST_ELEMENTS:
            refuse(f"more than {MOST_DEPTH} levels or {MOST_ELEMENTS} elements")

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1

    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.StartDoctypeDeclHandler = lambda *_: refuse("a document type is refused; take it and its entities out")
    parser.EntityDeclHandler = lambda *_: refuse("an entity is refused; write out what it stands for")
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        reason = expat.errors.messages[error.code]
        place = f"{name}:{error.lineno}:{error.offset + 1}"
        raise InputError(f"{place}: is not XML: {reason}; expected a model in SBML") from None
    except (ValueError, LookupError):
        raise InputError(f"{name}: is in an unknown encoding; save it as UTF-8") from None


def _split_tag(tag: str) -> tuple[str, str]:
    space, _, local = tag.rpartition("}")
    return space.removeprefix("{"), local


def _simplify(root: ElementTree.Element, name: str) -> ElementTree.Element:
    """Leave core SBML and its mathematics, without prefixes, in place; return the model."""
    space, local = _split_tag(root.tag)
    if local != "sbml" or not _ANY.fullmatch(space):
        raise InputError(f"{name}: expected a model in SBML, but it begins with <{local}>")
    if not _CORE.fullmatch(space):
        words = "is SBML of a level that is not read; convert it to Level 3 Version 1 (in COPASI: Export SBML)"
        raise InputError(f"{name}: {words}")
    for key, value in root.attrib.items():
        package = _split_tag(key)[0]
        if key.endswith("}required") and value.strip() in ("true", "1"):
            part = package.rstrip("/").split("/")[-2]
            raise InputError(f"{name}: needs the SBML package {quote(part)}, which is not solved; export it as core SBML")
    _strip(root, space)
    root.set("xmlns", space)
    model = root.find("model")
    if model is None:
        raise InputError(f"{name}: holds no <model>")
    return model


def _strip(element: ElementTree.Element, core: str) -> None:
    space, local = _split_tag(element.tag)
    element.tag = local
    for key in [key for key in element.attrib if key.startswith("{")]:
        del element.attrib[key]
    if space == _MATH:
        element.attrib.pop("id", None)  # no name of the model
    if local == "math":
        element.set("xmlns", _MATH)
    for child in list(element):
        inner, inner_local = _split_tag(child.tag) if isinstance(child.tag, str) else ("", "")
        if inner not in (core, _MATH) or (inner == core and inner_local in _LEFT_OUT):
            element.remove(child)
        else:
            _strip(child, core)


def _refuse_unsolved(model: ElementTree.Element, name: str) -> None:
    if model.find("listOfRules/algebraicRule") is not None:
        raise InputError(f"{name}: has an algebraic rule; solve it for a variable and write an assignment rule")
    if any(symbol.get("definitionURL", "").endswith("/delay") for symbol in model.iter("csymbol")):
        raise InputError(f"{name}: has a delay, which is not solved; write it as a chain of stages")
    fast = [part.get("id", "") for part in model.iter("reaction") if part.get("fast") in ("true", "1")]
    if fast:
        raise InputError(f"{name}: reaction {quote(fast[0])} is fast, which is not solved; give it a rate")
    _check_names(model, name)
    for kind in ("assignmentRule", "rateRule", "initialAssignment"):
        for part in model.iter(kind):
            if part.find("math") is None:
                target = part.get("variable") or part.get("symbol") or ""
                raise InputError(f"{name}: the {kind} of {quote(target)} has no mathematics")
    for part in model.iter("reaction"):
        if part.find("kineticLaw/math") is None:
            raise InputError(f"{name}: reaction {quote(part.get('id', ''))} has no rate law, as in a map of fluxes")


def _check_names(model: ElementTree.Element, name: str) -> None:
    """Refuse a name that is given twice or used without being given; a library's words about either are hard to read."""
    definitions = model.find("listOfUnitDefinitions")
    units = set() if definitions is None else set(definitions.iter())  # have names of their own
    given = [part for part in model.iter() if part.get("id") and part not in units]
    # The parameters of a rate law hide those of the model.
    hiding = {part for law in model.iter("kineticLaw") for part in law.iter() if part.get("id")}
    seen: set[str] = set()
    for part in given:
        identity = part.get("id", "")
        if part not in hiding and identity in seen:
            raise InputError(f"{name}: {quote(identity)} is given twice")
        seen.add(identity)
    bound = {(part.text or "").strip() for place in model.iter("bvar") for part in place.iter("ci")}
    for part in model.iter("ci"):
        used = (part.text or "").strip()
        if used not in seen | bound:
            raise InputError(f"{name}: a formula uses {quote(used)}, which the model does not have")


def _is_true(element: ElementTree.Element, key: str) -> bool:
    return element.get(key) in ("true", "1")


def _list_symbols(model: ElementTree.Element) -> tuple[dict[str, State], dict[str, str], tuple[str, ...]]:
    """Return states, outputs and parameters of a model."""
    ruled = {part.get("variable", "") for part in model.iter("rateRule")}
    assigned = {part.get("variable", "") for part in model.iter("assignmentRule")}
    moved = {
        part.get("species", "")
        for place in ("listOfReactants", "listOfProducts")
        for part in model.iterfind(f"listOfReactions/reaction/{place}/speciesReference")
    }
    sizes = {part.get("id", ""): part.get("units", "litre") for part in model.iterfind("listOfCompartments/compartment")}
    states, outputs = {}, {}
    for part in model.iterfind("listOfSpecies/species"):
        name, place = part.get("id", ""), part.get("compartment", "")
        is_amount = _is_true(part, "hasOnlySubstanceUnits")
        unit = part.get("substanceUnits") or model.get("substanceUnits") or "amount"
        outputs[name] = name if is_amount else f"[{name}]"
        moves = name in ruled or (name in moved and not _is_true(part, "boundaryCondition"))
        if moves and name not in assigned and not _is_true(part, "constant"):
            full = unit if is_amount else f"{unit}/{sizes.get(place, 'volume')}"
            # A rate rule of a concentration gives its rate; reactions give that of the amount.
            of_rule = (_RATE + name, "") if name in ruled else (f"{name}'", "" if is_amount else place)
            states[name] = State(name, outputs[name], *of_rule, full)
    others = [*model.iterfind("listOfParameters/parameter"), *model.iterfind("listOfCompartments/compartment")]
    for part in others:
        name = part.get("id", "")
        outputs[name] = name
        if name in ruled:
            states[name] = State(name, name, _RATE + name, "", part.get("units") or "1")
    constants = [part.get("id", "") for part in model.iterfind("listOfParameters/parameter")]
    return states, outputs, tuple(name for name in constants if name not in ruled | assigned)


def _read_time(root: ElementTree.Element, model: ElementTree.Element) -> float | None:
    """Return the unit of time (h), None if it is not stated or is no time."""
    early = root.get("level") == "2"
    unit = "time" if early else model.get("timeUnits", "")
    for definition in model.iterfind("listOfUnitDefinitions/unitDefinition"):
        if definition.get("id") == unit:
            return _read_unit(definition)
    return 1.0 / _HOURS if unit == "second" or early else None


def _read_unit(definition: ElementTree.Element) -> float | None:
    seconds, power = 1.0, 0.0
    try:
        for part in definition.iterfind("listOfUnits/unit"):
            exponent = float(part.get("exponent", 1.0))
            seconds *= (float(part.get("multiplier", 1.0)) * 10.0 ** float(part.get("scale", 0.0))) ** exponent
            if part.get("kind") not in ("second", "dimensionless"):
                return None
            power += exponent if part.get("kind") == "second" else 0.0
    except (ValueError, OverflowError, ZeroDivisionError):
        return None
    return seconds / _HOURS if power == 1.0 and 0.0 < seconds < np.inf else None


# ---------------------------------------------------------------- solving


def _write_values(model: Model, parameters: dict[str, float], initial: dict[str, float]) -> str:
    """Return the text with other values of parameters and other starting values."""
    root = ElementTree.fromstring(model.text)
    core = _split_tag(root.tag)[0]
    _strip(root, core)
    root.set("xmlns", core)
    owner, values = root.find("model"), parameters | initial
    assert owner is not None
    keys = {"listOfParameters/parameter": "value", "listOfCompartments/compartment": "size", "listOfSpecies/species": ""}
    for place, key in keys.items():
        for part in owner.iterfind(place):
            if part.get("id") not in values:
                continue
            for old in ("initialAmount", "initialConcentration"):
                part.attrib.pop(old, None)
            amount = "initialAmount" if _is_true(part, "hasOnlySubstanceUnits") else "initialConcentration"
            part.set(key or amount, repr(float(values[part.get("id", "")])))
    assignments = owner.find("listOfInitialAssignments")
    if assignments is not None:
        for part in [part for part in assignments if part.get("symbol") in values]:
            assignments.remove(part)
        if not len(assignments):
            owner.remove(assignments)
    _add_rates(owner)
    return ElementTree.tostring(root, "unicode")


def _add_rates(model: ElementTree.Element) -> None:
    """Give every rate rule a parameter that has its value: the library tells only the rates of reactions."""
    rules = model.find("listOfRules")
    if rules is None or rules.find("rateRule") is None:
        return
    parameters = model.find("listOfParameters")
    if parameters is None:
        parameters = ElementTree.Element("listOfParameters")
        places = [i for i, part in enumerate(model) if part.tag in ("listOfCompartments", "listOfSpecies")]
        model.insert(max(places, default=-1) + 1, parameters)
    for rule in rules.findall("rateRule"):
        name = _RATE + rule.get("variable", "")
        ElementTree.SubElement(parameters, "parameter", {"id": name, "constant": "false"})
        copy = ElementTree.SubElement(rules, "assignmentRule", {"variable": name})
        copy.extend(rule.findall("math"))


def _list_pieces(question: Question) -> list[tuple[float, float, dict[str, float]]]:
    """Return the stretches in which no parameter changes, in the model's time, with what differs in each."""
    end = question.times_h[-1]
    inner = {time for pulse in question.pulses for time in (pulse.start_h, pulse.end_h) if 0.0 < time < end}
    edges, unit = sorted({0.0, end} | inner), question.time_unit_h
    pieces = []
    for a, b in zip(edges[:-1], edges[1:]):
        held: dict[str, float] = {}
        for pulse in question.pulses:
            if pulse.start_h <= a and b <= pulse.end_h:
                held |= pulse.parameters
        pieces.append((a / unit, b / unit, held))
    return pieces


def solve(model: Model, question: Question) -> Answer:
    """Return the course of a model, and its steady state if asked for.

    Raises
    ------
    InputError
        libRoadRunner is missing, or does not read the model.
    NumericalError
        The integration fails, takes too long, or no steady state is found.
    """
    if find_spec("roadrunner") is None:
        raise InputError(f'{model.source}: models in SBML need libRoadRunner; install it: pip install "niche-sim[sbml]"')
    task = {
        "sbml": _write_values(model, question.parameters, question.initial), "most_bytes": MEMORY,
        "states": [(state.selection, state.rate, state.volume) for state in model.states.values()],
        "outputs": [model.outputs[name] for name in question.outputs],
        "times": [time / question.time_unit_h for time in question.times_h], "pieces": _list_pieces(question),
        "steady": question.steady, "from_rest": question.from_rest,
    }  # fmt: skip
    said, values = _ask(model.source, json.dumps(task).encode())
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise NumericalError(f"{model.source}: a variable is no number at {question.times_h[row] / 24.0:.6g} d")
    if "steady" not in said:
        return Answer(values)
    return Answer(values, np.array(said["steady"]), np.array(said["rates"]) / question.time_unit_h)


@lru_cache(maxsize=4)  # an experiment is read more often than it changes
def _ask(source: str, task: bytes) -> tuple[dict[str, Any], np.ndarray]:
    try:
        # -P: the folder of the script must not hide modules of the standard library.
        run = subprocess.run([sys.executable, "-P", str(_WORKER)], input=task, capture_output=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise NumericalError(f"{source}: was not solved within {SECONDS:g} s; ask for a shorter length") from None
    head, _, numbers = run.stdout.partition(b"\n")
    if not head:
        words = run.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or [f"exit code {run.returncode}"]
        raise NumericalError(f"{source}: the solver ended ({quote(words[0])}); is the model too large?")
    said = json.loads(head)
    reason = re.split(r"[,;] (?:at|[Ii]n) virtual", " ".join(said.get("message", "").split()))[0][:300]
    if said.get("failed") == "load":
        raise InputError(f"{source}: libRoadRunner does not read it: {reason}; a validator of SBML (sbml.org) tells more")
    if said.get("failed") == "steady":
        raise NumericalError(f"{source}: no steady state was found from its starting values; it may grow or oscillate")
    if said.get("failed"):
        raise NumericalError(f"{source}: the integration stopped: {reason}")
    return said, np.frombuffer(numbers, dtype=np.float64).reshape(said["shape"])
