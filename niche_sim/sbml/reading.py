"""A file of SBML as text: what is refused, what is left out, and what the model moves and holds."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np

from niche_sim.errors import InputError
from niche_sim.resources import configs_dir
from niche_sim.units import quote

MOST_BYTES, MOST_DEPTH, MOST_ELEMENTS = 2_000_000, 100, 50_000
SUFFIXES = (".xml", ".sbml")
_CORE = re.compile(r"http://www\.sbml\.org/sbml/level(2(/version[2-5])?|3/version[12]/core)")
_ANY = re.compile(r"http://www\.sbml\.org/sbml/level\d.*")
_MATH = "http://www.w3.org/1998/Math/MathML"
_LEFT_OUT = ("notes", "annotation")
RATE = "niche_sim_rate_of_"  # begins the names of what is added to read the rates of rate rules
_HOURS = 3600.0  # seconds


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
    parser = expat.ParserCreate(namespace_separator="}")
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


def split_tag(tag: str) -> tuple[str, str]:
    """Return the namespace and the name of a tag."""
    space, _, local = tag.rpartition("}")
    return space.removeprefix("{"), local


def _simplify(root: ElementTree.Element, name: str) -> ElementTree.Element:
    """Leave core SBML and its mathematics, without prefixes, in place; return the model."""
    space, local = split_tag(root.tag)
    if local != "sbml" or not _ANY.fullmatch(space):
        raise InputError(f"{name}: expected a model in SBML, but it begins with <{local}>")
    if not _CORE.fullmatch(space):
        words = "is SBML of a level that is not read; convert it to Level 3 Version 1 (in COPASI: Export SBML)"
        raise InputError(f"{name}: {words}")
    for key, value in root.attrib.items():
        package = split_tag(key)[0]
        if key.endswith("}required") and value.strip() in ("true", "1"):
            part = package.rstrip("/").split("/")[-2]
            raise InputError(f"{name}: needs the SBML package {quote(part)}, which is not solved; export it as core SBML")
    strip(root, space)
    root.set("xmlns", space)
    model = root.find("model")
    if model is None:
        raise InputError(f"{name}: holds no <model>")
    return model


def strip(element: ElementTree.Element, core: str) -> None:
    """Leave tags and attributes of core SBML and its mathematics, without prefixes, in place."""
    space, local = split_tag(element.tag)
    element.tag = local
    for key in [key for key in element.attrib if key.startswith("{")]:
        del element.attrib[key]
    if space == _MATH:
        element.attrib.pop("id", None)  # no name of the model
    if local == "math":
        element.set("xmlns", _MATH)
    for child in list(element):
        inner, inner_local = split_tag(child.tag) if isinstance(child.tag, str) else ("", "")
        if inner not in (core, _MATH) or (inner == core and inner_local in _LEFT_OUT):
            element.remove(child)
        else:
            strip(child, core)


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


def is_true(element: ElementTree.Element, key: str) -> bool:
    """Whether an attribute says true."""
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
        is_amount = is_true(part, "hasOnlySubstanceUnits")
        unit = part.get("substanceUnits") or model.get("substanceUnits") or "amount"
        outputs[name] = name if is_amount else f"[{name}]"
        moves = name in ruled or (name in moved and not is_true(part, "boundaryCondition"))
        if moves and name not in assigned and not is_true(part, "constant"):
            full = unit if is_amount else f"{unit}/{sizes.get(place, 'volume')}"
            # A rate rule of a concentration gives its rate; reactions give that of the amount.
            of_rule = (RATE + name, "") if name in ruled else (f"{name}'", "" if is_amount else place)
            states[name] = State(name, outputs[name], *of_rule, full)
    others = [*model.iterfind("listOfParameters/parameter"), *model.iterfind("listOfCompartments/compartment")]
    for part in others:
        name = part.get("id", "")
        outputs[name] = name
        if name in ruled:
            states[name] = State(name, name, RATE + name, "", part.get("units") or "1")
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
