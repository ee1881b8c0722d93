"""Keys that name a model in SBML, and what may be said about it; shared by the sub-model and by a patient's bone."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from niche_sim.config.problems import suggest
from niche_sim.config.quantity import quantity, text
from niche_sim.config.schema import Strict
from niche_sim.errors import InputError
from niche_sim.sbml import Model, Pulse, find_sbml, read_sbml

Mistakes = list[tuple[tuple[str | int, ...], str]]
Symbol = Annotated[str, text(r"[A-Za-z_][A-Za-z0-9_]{0,255}", "a symbol of the model", 256)]
Value = Annotated[float, quantity(-1e300, 1e300)]
TimeUnit = Annotated[float, quantity("1 s", "100 yr", unit="h")]


class PulseModel(Strict):
    """Parameters that differ between two times."""

    start_h: Annotated[float, quantity("0 h", "100 yr", unit="h")] = Field(alias="start")
    end_h: Annotated[float, quantity("0 h", "100 yr", unit="h")] = Field(alias="end")
    parameters: dict[str, Value]


def open_model(name: str, beside: Path) -> tuple[Model | None, Mistakes]:
    """Return the model that a key `sbml` names, or what is wrong with it."""
    try:
        return read_sbml(find_sbml(name, beside)), []
    except InputError as error:
        return None, [(("sbml",), str(error))]


def find_time_unit(model: Model, given_h: float | None) -> float | None:
    """Return the model's unit of time (h): the key `time_unit`, else what the model says."""
    return model.time_h if given_h is None else given_h


def check_about(model: Model, spec: Any) -> Mistakes:
    """Return mistakes of the keys time_unit, parameters and pulses about a model."""
    found: Mistakes = []
    if find_time_unit(model, spec.time_unit_h) is None:
        words = "missing: the model does not state its unit of time; write one, such as time_unit: '1 d'"
        found.append((("time_unit",), words))
    places: list[tuple[tuple[str | int, ...], dict[str, float]]] = [(("parameters",), spec.parameters)]
    places += [(("pulses", i, "parameters"), pulse.parameters) for i, pulse in enumerate(spec.pulses)]
    for where, names in places:
        for name in names:
            if name not in model.parameters:
                found.append(((*where, name), f"no constant parameter of the model{suggest(name, model.parameters)}"))
    found += [(("pulses", i, "end"), "is not after its start") for i, p in enumerate(spec.pulses) if p.end_h <= p.start_h]
    return found


def list_pulses(spec: Any) -> list[Pulse]:
    """Return the pulses as the solver takes them."""
    return [Pulse(pulse.start_h, pulse.end_h, pulse.parameters) for pulse in spec.pulses]
