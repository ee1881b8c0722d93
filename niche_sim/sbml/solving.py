"""What is asked of a model in SBML, written into its text and solved by a process of its own."""

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

import numpy as np

from niche_sim.errors import InputError, NumericalError
from niche_sim.sbml.reading import RATE, Model, is_true, split_tag, strip

SECONDS, MEMORY = 60.0, 4 * 2**30
_WORKER = Path(__file__).with_name("worker.py")


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


def _write_values(model: Model, parameters: dict[str, float], initial: dict[str, float]) -> str:
    """Return the text with other values of parameters and other starting values."""
    root = ElementTree.fromstring(model.text)
    core = split_tag(root.tag)[0]
    strip(root, core)
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
            amount = "initialAmount" if is_true(part, "hasOnlySubstanceUnits") else "initialConcentration"
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
        name = RATE + rule.get("variable", "")
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
        reason = f"the solver ended ({words[0][:200]}): too large, or damaged"
        raise NumericalError(f"{source}: {reason}; a validator of SBML (sbml.org) tells more")
    said = json.loads(head)
    reason = re.split(r"[,;] (?:at|[Ii]n|from) (?:virtual|llvm|void|<)", " ".join(said.get("message", "").split()))[0][:300]
    if said.get("failed") == "load":
        raise InputError(f"{source}: libRoadRunner does not read it: {reason}; a validator of SBML (sbml.org) tells more")
    if said.get("failed") == "steady":
        raise NumericalError(f"{source}: no steady state was found from its starting values; it may grow or oscillate")
    if said.get("failed"):
        raise NumericalError(f"{source}: the integration stopped: {reason}")
    return said, np.frombuffer(numbers, dtype=np.float64).reshape(said["shape"])
