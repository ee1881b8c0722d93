"""Bone remodelling without space: two published systems of ordinary differential equations.

`komarova` (Komarova et al. 2003, Bone 33:206): osteoclasts x1, osteoblasts x2, bone mass z,

    dx1/dt = a1 x1^g11 x2^g21 - b1 x1,   dx2/dt = a2 x1^g12 x2^g22 - b2 x2,
    dz/dt = -k1 max(0, x1 - x1*) + k2 max(0, x2 - x2*)

with x* the steady state. `lemaire` (Lemaire et al. 2004, J Theor Biol 229:293): responding osteoblasts R, active
osteoblasts B, active osteoclasts C (pmol/L),

    dR/dt = DR pC - DB R / pC,   dB/dt = DB R / pC - kB B,   dC/dt = DC pL - DA pC C,
    pC = (C + f0 Cs) / (C + Cs),   pP = (P + P0) / (P + Ps),   P = IP / kP, P0 = SP / kP, Ps = k6 / k5,
    pL = (k3 / k4) KLP pP B (1 + IL / rL) / (1 + k3 K / k4 + k1 / (k2 kO) (KOP R / pP + IO))

Integrated by an implicit method to a relative 1e-10; the steady state is solved for, not waited for.
"""

from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field
from scipy.integrate import solve_ivp
from scipy.optimize import root

from niche_sim.config.quantity import choice, quantity
from niche_sim.config.schema import Strict
from niche_sim.errors import NumericalError
from niche_sim.submodels.base import Mistakes, Progress, SubModel, Tables
from niche_sim.submodels.pk import list_times

MODEL = "bone_mean_field"
SCHEME = "LSODA, relative tolerance 1e-10, absolute 1e-14 of the scale; steady states by root finding"
DAY = 24.0

KOMAROVA = {
    "a1": 3.0, "a2": 4.0, "b1": 0.2, "b2": 0.02, "g11": 0.5, "g12": 1.0, "g21": -0.5, "g22": 0.0, "k1": 0.24,
    "k2": 0.0017,
}  # fmt: skip
LEMAIRE = {
    "Cs": 5e-3, "DA": 0.7, "dB": 0.7, "DC": 2.1e-3, "DR": 7e-4, "f0": 0.05, "K": 10.0, "k1": 1e-2, "k2": 10.0,
    "k3": 5.8e-4, "k4": 1.7e-2, "k5": 0.02, "k6": 3.0, "kB": 0.189, "KLP": 3e6, "kO": 0.35, "KOP": 2e5, "kP": 86.0,
    "rL": 1e3, "SP": 250.0, "IP": 0.0, "IL": 0.0, "IO": 0.0, "IR": 0.0, "IB": 0.0, "IC": 0.0,
}  # fmt: skip
VARIABLES = {"komarova": ("x1", "x2", "z"), "lemaire": ("R", "B", "C")}

COLUMNS = {
    "course": {
        "time_d": ("d", "time"), "x1": ("cells", "osteoclasts (komarova)"), "x2": ("cells", "osteoblasts (komarova)"),
        "z": ("%", "bone mass, 100 at the start unless given (komarova)"),
        "R": ("pmol/L", "responding osteoblasts (lemaire)"), "B": ("pmol/L", "active osteoblasts (lemaire)"),
        "C": ("pmol/L", "active osteoclasts (lemaire)"),
    },
    "steady_state": {
        "variable": ("name", "variable"), "value": ("as in course", "steady value"),
        "residual_per_d": ("as in course, per d", "rate of change there, 0 at a steady state"),
    },
}  # fmt: skip


_MOST, _MOST_CALLS = 1e15, 1_000_000  # of a variable; of evaluations between two changes of parameters
class PulseModel(Strict):
    """Parameters that differ between two times."""

    start_h: Annotated[float, quantity("0 h", "100 yr", unit="h")] = Field(alias="start")
    end_h: Annotated[float, quantity("0 h", "100 yr", unit="h")] = Field(alias="end")
    parameters: dict[str, Annotated[float, quantity(-1e12, 1e12)]]


class Spec(SubModel):
    """Bone remodelling as ordinary differential equations."""

    system: Annotated[str, choice("komarova", "lemaire")]
    parameters: dict[str, Annotated[float, quantity(-1e12, 1e12)]] = {}
    initial: dict[str, Annotated[float, quantity(0.0, 1e12)]] = {}
    pulses: list[PulseModel] = Field(default=[], max_length=100)
    length_h: Annotated[float, quantity("0 h", "100 yr", unit="h", above=True)] = Field(alias="length")
    every_h: Annotated[float, quantity("0 h", "100 yr", unit="h", above=True)] = Field(alias="every")


def _defaults(system: str) -> dict[str, float]:
    return KOMAROVA if system == "komarova" else LEMAIRE


def _is_sound(system: str, name: str, value: float) -> bool:
    """Whether a parameter may have a value: exponents (g) and what comes from outside (I) any, others above 0."""
    if name.startswith(("g", "I")):
        return True
    return value > 0.0 or (value == 0.0 and system == "komarova" and name in ("k1", "k2"))


def check(spec: Spec) -> Mistakes:
    """Return mistakes across keys."""
    known, variables = _defaults(spec.system), VARIABLES[spec.system]
    places: list[tuple[tuple[str | int, ...], dict[str, float]]] = [(("parameters",), spec.parameters)]
    places += [(("pulses", i, "parameters"), pulse.parameters) for i, pulse in enumerate(spec.pulses)]
    words = f"unknown parameter; {spec.system} has {', '.join(known)}"
    told = f"unknown variable; there is {', '.join(variables)}"
    found: Mistakes = [((*where, name), words) for where, names in places for name in names if name not in known]
    found += [
        ((*where, name), "is a rate or an amount: expected a number above 0")
        for where, names in places
        for name, value in names.items()
        if name in known and not _is_sound(spec.system, name, value)
    ]
    found += [(("initial", name), told) for name in spec.initial if name not in variables]
    found += [(("pulses", i, "end"), "is not after its start") for i, p in enumerate(spec.pulses) if p.end_h <= p.start_h]
    if spec.length_h / spec.every_h > 1_000_000:
        found.append((("every",), "gives more than a million rows"))
    return found


def find_steady_komarova(p: dict[str, float]) -> np.ndarray:
    """Return the steady x1, x2 in closed form.

    Raises
    ------
    NumericalError
        The exponents are such that there is none.
    """
    gamma = p["g12"] * p["g21"] - (1.0 - p["g11"]) * (1.0 - p["g22"])
    if gamma == 0.0:
        raise NumericalError("komarova: g12 g21 = (1 - g11)(1 - g22): there is no steady state")
    first, second = p["b1"] / p["a1"], p["b2"] / p["a2"]
    x1 = first ** ((1.0 - p["g22"]) / gamma) * second ** (p["g21"] / gamma)
    x2 = first ** (p["g12"] / gamma) * second ** ((1.0 - p["g11"]) / gamma)
    return np.array([x1, x2])


def rate_komarova(y: np.ndarray, p: dict[str, float], steady: np.ndarray) -> np.ndarray:
    """Return dx1/dt, dx2/dt, dz/dt (1/d)."""
    x1, x2 = max(y[0], 1e-300), max(y[1], 1e-300)
    return np.array([
        p["a1"] * x1 ** p["g11"] * x2 ** p["g21"] - p["b1"] * x1,
        p["a2"] * x1 ** p["g12"] * x2 ** p["g22"] - p["b2"] * x2,
        -p["k1"] * max(0.0, x1 - steady[0]) + p["k2"] * max(0.0, x2 - steady[1]),
    ])  # fmt: skip


def rate_lemaire(y: np.ndarray, p: dict[str, float]) -> np.ndarray:
    """Return dR/dt, dB/dt, dC/dt (pmol/L/d)."""
    r, b, c = y
    occupied = (c + p["f0"] * p["Cs"]) / (c + p["Cs"])
    pth = (p["IP"] / p["kP"] + p["SP"] / p["kP"]) / (p["IP"] / p["kP"] + p["k6"] / p["k5"])
    opg = p["k1"] / p["k2"] / p["kO"] * (p["KOP"] * r / pth + p["IO"])
    rankl = p["k3"] / p["k4"] * p["KLP"] * pth * b * (1.0 + p["IL"] / p["rL"])
    rankl /= 1.0 + p["k3"] * p["K"] / p["k4"] + opg
    matured = p["f0"] * p["dB"] * r / occupied
    return np.array([
        p["DR"] * occupied - matured + p["IR"], matured - p["kB"] * b + p["IB"],
        p["DC"] * rankl - p["DA"] * occupied * c + p["IC"],
    ])  # fmt: skip


def find_steady(system: str, p: dict[str, float]) -> np.ndarray:
    """Return the steady state: x1, x2 in closed form, or R, B, C by root finding in logarithms.

    Raises
    ------
    NumericalError
        None was found.
    """
    if system == "komarova":
        return find_steady_komarova(p)
    scale = np.array([7.7e-4, 7.3e-4, 9.1e-4])
    for factor in (1.0, 0.1, 10.0, 0.01, 100.0):
        found = root(lambda u: rate_lemaire(np.exp(u), p) / scale, np.log(scale * factor), tol=1e-14)
        if np.abs(rate_lemaire(np.exp(found.x), p) / scale).max() < 1e-9:
            return np.exp(found.x)
    raise NumericalError("lemaire: no steady state was found for these parameters")


def _integrate(spec: Spec, p: dict[str, float], start: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the variables at the recorded times, shape (times, 3)."""
    times = list_times(spec.length_h, spec.every_h) / DAY
    edges = np.unique([0.0, times[-1], *(t / DAY for q in spec.pulses for t in (q.start_h, q.end_h) if t / DAY < times[-1])])
    values, now = np.zeros((len(times), 3)), start
    values[0] = start
    for a, b in zip(edges[:-1], edges[1:]):
        held = dict(p)
        for pulse in spec.pulses:
            if pulse.start_h / DAY <= a and b <= pulse.end_h / DAY:
                held |= pulse.parameters

        calls = 0

        def rate(t: float, y: np.ndarray, held: dict[str, float] = held) -> Any:
            nonlocal calls
            calls += 1
            with np.errstate(all="ignore"):
                change = rate_komarova(y, held, reference) if spec.system == "komarova" else rate_lemaire(y, held)
            if not (np.abs(y) < _MOST).all() or not np.isfinite(change).all() or calls > _MOST_CALLS:
                raise NumericalError(f"{spec.system}: the numbers grow without bound, or too fast to follow, at {t:.6g} d")
            return change

        inside = np.flatnonzero((times > a) & (times <= b))
        asked = np.unique(np.append(times[inside], b))
        solved = solve_ivp(rate, (a, b), now, "LSODA", asked, rtol=1e-10, atol=1e-14 * np.maximum(np.abs(start), 1e-6))
        if not solved.success:
            raise NumericalError(f"{spec.system}: the integration stopped at {a:g} d: {solved.message}")
        values[inside] = solved.y.T[np.searchsorted(asked, times[inside])]
        now = solved.y[:, -1]
    return values


def run(spec: Spec, progress: Progress) -> Tables:
    """Return the course and the steady state."""
    p = _defaults(spec.system) | spec.parameters
    steady = find_steady(spec.system, p)
    names = VARIABLES[spec.system]
    rest = np.append(steady, 100.0) if spec.system == "komarova" else steady
    start = np.array([spec.initial.get(name, rest[i]) for i, name in enumerate(names)])
    values = _integrate(spec, p, start, steady)
    residual = rate_komarova(rest, p, steady)[:2] if spec.system == "komarova" else rate_lemaire(steady, p)
    course = pd.DataFrame({"time_d": list_times(spec.length_h, spec.every_h) / DAY} | dict(zip(names, values.T)))
    progress(1.0)
    table = pd.DataFrame({"variable": names[: len(steady)], "value": steady, "residual_per_d": residual})
    return {"course": course, "steady_state": table}
