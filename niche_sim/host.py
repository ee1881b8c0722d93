"""The patient around the niche: drugs, their pharmacokinetics, and the forcing that a niche sees.

Biology. A dose enters a central compartment (plasma) directly, or through an absorbing site of which
only a fraction is absorbed; it exchanges with peripheral tissue, leaves by excretion, and reaches
bone irreversibly::

    absorbing --ka--> central <--Q_i--> peripheral_i        dA_c/dt = ka A_a + r(t) + sum_i Q_i (C_i - C)
                      central --CL_e--> excreted                        - (CL_e + CL_s) C,   C = A_c / V_c
                      central --CL_s--> skeleton

so the retained fraction is CL_s / (CL_e + CL_s) and AUC = F dose / (CL_e + CL_s). The system is linear and is
solved exactly between events with matrix exponentials; integrals over a tick are extra states, never sums.
Release from the skeleton belongs to the niche, not to the host.

Inside units: h, L, mg (dose), nmol (amounts), nmol/L, um, fmol/um2.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from niche_sim.errors import InputError, NumericalError

Array = NDArray[Any]  # of float64

BISPHOSPHONATES = ("aminobisphosphonate", "bisphosphonate")
ANTIBODY = ("rank_ligand_antibody",)
CYTOTOXIC = ("cytotoxic",)
CLASSES = (*BISPHOSPHONATES, *ANTIBODY, *CYTOTOXIC)
ROUTES = ("iv", "oral", "sc")
DRUG_TEXT: dict[str, tuple[str, ...]] = {"name": (), "title": (), "class": CLASSES, "route": ROUTES}
"""Text keys of a drug file and their allowed words (empty: any); `title` is optional."""

_FMOL_PER_NMOL = 1e6
_NMOL_G_PER_MG_MOL = 1e6  # nmol = 1e6 * mg / (g/mol)
_NODES = 16  # quadrature nodes a segment for saturating responses to a decaying concentration
_GAMMA_DELTA_STEP_H = 1.0  # longest step of the gamma-delta activity, whatever the tick


class Leaf(NamedTuple):
    """One number of a drug file: inside unit ("" without), classes that must give it, `Drug` field."""

    unit: str
    required_for: tuple[str, ...]
    field: str


_KINETIC = (*BISPHOSPHONATES, *ANTIBODY)
_AMINO = ("aminobisphosphonate",)

DRUG_LAYOUT: dict[str, Any] = {
    "molar_mass": Leaf("g/mol", _KINETIC, "molar_mass"),
    "absorbed_fraction": Leaf("", ANTIBODY, "absorbed_fraction"),  # the route oral or sc needs it too
    "absorption_rate": Leaf("1/h", ANTIBODY, "absorption_rate"),  # the same
    "infusion": Leaf("h", BISPHOSPHONATES, "infusion_h"),
    "pharmacokinetics": {
        "central_volume": Leaf("L", _KINETIC, "central_volume"),
        "clearance_excretion": Leaf("L/h", _KINETIC, "clearance_excretion"),
        "clearance_skeleton": Leaf("L/h", BISPHOSPHONATES, "clearance_skeleton"),
        "free_fraction": Leaf("", _KINETIC, "free_fraction"),
        "peripheral": [{"volume": Leaf("L", (), "volume"), "clearance": Leaf("L/h", (), "clearance")}],
    },
    "skeleton": {
        "surface_area": Leaf("um^2", BISPHOSPHONATES, "surface_area"),
        "full_coat": Leaf("fmol/um^2", BISPHOSPHONATES, "full_coat"),
        "weight_quiescent": Leaf("", BISPHOSPHONATES, "weight_quiescent"),
        "weight_eroding": Leaf("", BISPHOSPHONATES, "weight_eroding"),
        "weight_forming": Leaf("", BISPHOSPHONATES, "weight_forming"),
        "desorption_half_life": Leaf("h", BISPHOSPHONATES, "desorption_half_life"),
        "return_fraction": Leaf("", BISPHOSPHONATES, "return_fraction"),
        "swallow_depth": Leaf("um", BISPHOSPHONATES, "swallow_depth"),
        "swallowed_fraction": Leaf("", BISPHOSPHONATES, "swallowed_fraction"),
    },
    "effects": {
        "osteoclast": {
            "kmax": Leaf("1/h", BISPHOSPHONATES, "osteoclast_kmax"),
            "half_load": Leaf("fmol/um^2", BISPHOSPHONATES, "osteoclast_half_load"),
            "hill": Leaf("", BISPHOSPHONATES, "osteoclast_hill"),
        },
        "macrophage": {
            "kmax": Leaf("1/h", BISPHOSPHONATES, "macrophage_kmax"),
            "half_concentration": Leaf("nmol/L", BISPHOSPHONATES, "macrophage_half_concentration"),
            "hill": Leaf("", BISPHOSPHONATES, "macrophage_hill"),
            "uptake": Leaf("", BISPHOSPHONATES, "macrophage_uptake"),
        },
        "tumour": {
            "kmax": Leaf("1/h", BISPHOSPHONATES, "tumour_kmax"),
            "half_load": Leaf("fmol/um^2", BISPHOSPHONATES, "tumour_half_load"),
            "cytostasis": Leaf("", BISPHOSPHONATES, "tumour_cytostasis"),
            "adhesion_loss": Leaf("", BISPHOSPHONATES, "adhesion_loss"),
        },
        "gamma_delta": {
            "ec50": Leaf("nmol/L", _AMINO, "gamma_delta_ec50"),
            "max_rate": Leaf("1/h", _AMINO, "gamma_delta_max_rate"),
            "max_activity": Leaf("", _AMINO, "gamma_delta_max_activity"),
            "decay_time": Leaf("h", _AMINO, "gamma_delta_decay_time"),
        },
        "rank_ligand": {"half_concentration": Leaf("nmol/L", ANTIBODY, "rankl_half_concentration")},
        "chemotherapy": {
            "log10_kill": Leaf("", CYTOTOXIC, "log10_kill"),
            "reference_dose": Leaf("mg", CYTOTOXIC, "reference_dose_mg"),
            "exposure": Leaf("h", CYTOTOXIC, "exposure_h"),
            "turnover_gain": Leaf("", CYTOTOXIC, "turnover_gain"),
            "turnover_decay_time": Leaf("h", CYTOTOXIC, "turnover_decay_time"),
        },
    },
}
"""Structure of a drug file: groups, leaves (inside unit, classes that require it), a list of tissues."""


class Peripheral(NamedTuple):
    """A tissue compartment: volume (L) and exchange clearance (L/h) with plasma."""

    volume: float
    clearance: float


@dataclass(frozen=True)
class Drug:
    """One drug in inside units; every default is inert (no amount, no effect, harmless half value).

    `osteoclast_half_load` counts drug swallowed per um2 of an osteoclast's front; `tumour_half_load` counts
    drug on the bone surface that a tumour cell touches; `macrophage_uptake` multiplies the concentration
    around a macrophage to give the one that reaches its cytosol.
    """

    name: str
    drug_class: str
    route: str = "iv"
    molar_mass: float = 1.0
    absorbed_fraction: float = 1.0
    absorption_rate: float = 0.0
    infusion_h: float = 0.0
    central_volume: float = 1.0
    clearance_excretion: float = 0.0
    clearance_skeleton: float = 0.0
    free_fraction: float = 1.0
    peripheral: tuple[Peripheral, ...] = field(default=())
    surface_area: float = 1.0
    full_coat: float = 1.0
    weight_quiescent: float = 0.0
    weight_eroding: float = 0.0
    weight_forming: float = 0.0
    desorption_half_life: float = np.inf
    return_fraction: float = 0.0
    swallow_depth: float = 1.0
    swallowed_fraction: float = 0.0
    osteoclast_kmax: float = 0.0
    osteoclast_half_load: float = 1.0
    osteoclast_hill: float = 1.0
    macrophage_kmax: float = 0.0
    macrophage_half_concentration: float = 1.0
    macrophage_hill: float = 1.0
    macrophage_uptake: float = 0.0
    tumour_kmax: float = 0.0
    tumour_half_load: float = 1.0
    tumour_cytostasis: float = 0.0
    adhesion_loss: float = 0.0
    gamma_delta_ec50: float = 1.0
    gamma_delta_max_rate: float = 0.0
    gamma_delta_max_activity: float = 0.0
    gamma_delta_decay_time: float = 1.0
    rankl_half_concentration: float = np.inf
    log10_kill: float = 0.0
    reference_dose_mg: float = 1.0
    exposure_h: float = 1.0
    turnover_gain: float = 0.0
    turnover_decay_time: float = 1.0

    @property
    def has_kinetics(self) -> bool:
        """Whether the drug is followed through the body (a cytotoxic is a kill window only)."""
        return self.drug_class not in CYTOTOXIC


@dataclass(frozen=True)
class Course:
    """Doses of one drug: a single dose, or one every `interval_h` from `start_h` until before `until_h`.

    None means: no repeat (`interval_h`), to the end of the run (`until_h`), as in the drug's file (others).
    """

    drug: str
    dose_mg: float
    interval_h: float | None = None
    start_h: float = 0.0
    until_h: float | None = None
    route: str | None = None
    infusion_h: float | None = None


@dataclass(frozen=True)
class Patient:
    """Endocrine state over time: piecewise linear between `times_h`, constant outside them.

    `activation` is the activation frequency (1/h), `bone_balance` the refilled share of a cavity,
    `rankl_factor` multiplies RANKL secretion. All tuples have one entry per time.
    """

    activation: tuple[float, ...]
    bone_balance: tuple[float, ...] = (1.0,)
    rankl_factor: tuple[float, ...] = (1.0,)
    times_h: tuple[float, ...] = (0.0,)


class Dose(NamedTuple):
    """One administration, resolved: the drug's route and infusion length are filled in."""

    time_h: float
    drug: str
    dose_mg: float
    route: str
    infusion_h: float


class Forcing(NamedTuple):
    """What the host does to the niche in each tick (first axis: ticks; float64, C-contiguous)."""

    uptake: Array  # (n_steps, n_drugs) fmol per um2 of bone surface deposited in the tick
    plasma: Array  # (n_steps, n_drugs) mean free plasma concentration, nmol/L
    gamma_delta: Array  # (n_steps,) mean activity of gamma-delta T cells, 0-1
    rankl_block: Array  # (n_steps,) mean share of RANKL neutralised, 0-1
    chemotherapy: Array  # (n_steps,) mean kill hazard on fully exposed cycling cells, 1/h
    activation: Array  # (n_steps,) activation frequency, 1/h
    bone_balance: Array  # (n_steps,)
    rankl_factor: Array  # (n_steps,)


class DrugEffects(NamedTuple):
    """Constants of every drug for the kernels, each (n_drugs,) float64, in the column order of `Forcing`."""

    osteoclast_kmax: Array  # 1/h
    osteoclast_half_load: Array  # fmol/um2 swallowed per um2 of front
    osteoclast_hill: Array
    weight_quiescent: Array
    weight_eroding: Array
    weight_forming: Array
    desorption: Array  # 1/h
    return_fraction: Array
    swallow_depth_um: Array  # um
    swallowed_fraction: Array
    full_coat: Array  # fmol/um2
    macrophage_kmax: Array  # 1/h
    macrophage_half_concentration: Array  # nmol/L
    macrophage_hill: Array
    macrophage_uptake: Array
    tumour_kmax: Array  # 1/h
    tumour_half_load: Array  # fmol/um2 of surface
    tumour_cytostasis: Array
    adhesion_loss: Array


# ---------------------------------------------------------------- building drugs and patients


def _flatten(plain: Mapping[str, Any], layout: Mapping[str, Any], path: str) -> dict[str, float]:
    values: dict[str, float] = {}
    for key, item in plain.items():
        where = f"{path}{key}"
        if key not in layout:
            raise InputError(f"drug: unknown key {where!r}; known here: {', '.join(sorted(layout))}")
        entry = layout[key]
        if isinstance(entry, Leaf):
            values[entry.field] = float(item)
        elif isinstance(entry, dict):
            values.update(_flatten(item, entry, where + "."))
    return values


def _missing(plain: Mapping[str, Any], layout: Mapping[str, Any], drug_class: str, path: str) -> list[str]:
    lost: list[str] = []
    for key, entry in layout.items():
        if isinstance(entry, Leaf):
            if drug_class in entry.required_for and key not in plain:
                lost.append(path + key)
        elif isinstance(entry, dict):
            lost += _missing(plain.get(key, {}), entry, drug_class, f"{path}{key}.")
    return lost


def drug_from_mapping(plain: Mapping[str, Any]) -> Drug:
    """Build a drug from the nested keys of its file, each leaf a float in the unit of `DRUG_LAYOUT`.

    Raises
    ------
    InputError
        An unknown or missing key, an unknown class or route, a number out of its domain.
    """
    text = {key: str(plain[key]) for key in DRUG_TEXT if key in plain}
    for key in ("name", "class", "route"):
        if key not in text or (DRUG_TEXT[key] and text[key] not in DRUG_TEXT[key]):
            expected = " or ".join(DRUG_TEXT[key]) or "a name"
            raise InputError(f"drug: {key} must be {expected}, not {text.get(key)!r}")
    numbers = {key: item for key, item in plain.items() if key not in DRUG_TEXT}
    lost = _missing(numbers, DRUG_LAYOUT, text["class"], "")
    if lost:
        raise InputError(f"drug {text['name']}: missing {', '.join(lost)}")
    tissues = numbers.get("pharmacokinetics", {}).get("peripheral", ())
    peripheral = tuple(Peripheral(float(t["volume"]), float(t["clearance"])) for t in tissues)
    values: dict[str, Any] = _flatten(numbers, DRUG_LAYOUT, "")
    drug = Drug(text["name"], text["class"], text["route"], peripheral=peripheral, **values)
    _check_drug(drug)
    return drug


_POSITIVE = ("molar_mass", "central_volume", "surface_area", "full_coat", "swallow_depth", "exposure_h",
             "desorption_half_life", "osteoclast_half_load", "macrophage_half_concentration",
             "tumour_half_load", "gamma_delta_ec50", "gamma_delta_decay_time", "rankl_half_concentration",
             "reference_dose_mg", "turnover_decay_time", "osteoclast_hill", "macrophage_hill")
_FRACTION = ("absorbed_fraction", "free_fraction", "return_fraction", "swallowed_fraction",
             "tumour_cytostasis", "adhesion_loss", "gamma_delta_max_activity")


def _check_drug(drug: Drug) -> None:
    for item in fields(drug):
        value = getattr(drug, item.name)
        if not isinstance(value, float):
            continue
        if not value >= 0 or (item.name in _POSITIVE and value == 0):
            raise InputError(f"drug {drug.name}: {item.name} = {value} is not allowed")
        if item.name in _FRACTION and value > 1:
            raise InputError(f"drug {drug.name}: {item.name} = {value} is not between 0 and 1")
    for tissue in drug.peripheral:
        if not (tissue.volume > 0 and tissue.clearance >= 0):
            raise InputError(f"drug {drug.name}: peripheral {tuple(tissue)} is not allowed")
    if drug.route != "iv" and drug.absorption_rate == 0 and drug.has_kinetics:
        raise InputError(f"drug {drug.name}: route {drug.route} needs absorption_rate")


# ---------------------------------------------------------------- doses


def list_doses(courses: Iterable[Any], drugs: Mapping[str, Drug], end_h: float) -> list[Dose]:
    """Return every dose given before `end_h` (h), in order of time.

    Parameters
    ----------
    courses : iterable of Course
        Anything with the attributes of `Course`.
    drugs : mapping of name to Drug
    end_h : float

    Raises
    ------
    InputError
        An unknown drug, a negative dose, an interval that is not positive, a route that the drug lacks.
    """
    doses: list[Dose] = []
    for course in courses:
        if course.drug not in drugs:
            raise InputError(f"regimen: unknown drug {course.drug!r}; known: {', '.join(sorted(drugs))}")
        drug = drugs[course.drug]
        route, infusion = _delivery(course, drug)
        for time_h in _dose_times(course, end_h):
            doses.append(Dose(float(time_h), course.drug, float(course.dose_mg), route, infusion))
    return sorted(doses)


def _delivery(course: Any, drug: Drug) -> tuple[str, float]:
    route = course.route if course.route is not None else drug.route
    if route not in ROUTES:
        raise InputError(f"regimen: unknown route {route!r}; known: {', '.join(ROUTES)}")
    if route != "iv" and drug.has_kinetics and drug.absorption_rate <= 0:
        raise InputError(f"regimen: {drug.name} has no absorption_rate, so it cannot be given {route}")
    infusion = course.infusion_h if course.infusion_h is not None else drug.infusion_h
    if not 0 <= infusion < np.inf:
        raise InputError(f"regimen: an infusion of {infusion} h is not allowed")
    return route, float(infusion) if route == "iv" else 0.0


def _dose_times(course: Any, end_h: float) -> Array:
    if not 0 <= course.dose_mg < np.inf:
        raise InputError(f"regimen: a dose of {course.dose_mg} mg is not allowed")
    until = end_h if course.until_h is None else min(end_h, course.until_h)
    if course.interval_h is None:
        return np.array([course.start_h] if course.start_h < until else [])
    if not course.interval_h > 0:
        raise InputError(f"regimen: an interval of {course.interval_h} h is not allowed")
    # The margin keeps start + k * interval == until from slipping in by rounding.
    count = max(0, int(np.ceil((until - course.start_h) / course.interval_h - 1e-9)))
    return course.start_h + course.interval_h * np.arange(count)


# ---------------------------------------------------------------- linear compartments

# Moving states: absorbing, central, peripheral..., rate. Gained states (integrals), in this order:
_GAINED = ("skeleton", "excreted", "infused", "exposure")
_ABSORBING, _CENTRAL, _RATE = 0, 1, -1


@lru_cache(maxsize=64)
def _generator(drug: Drug) -> Array:
    """Matrix of dx/dt = M x; the rate state feeds plasma, so an infusion needs no special case."""
    n = 3 + len(drug.peripheral)
    matrix = np.zeros((n + len(_GAINED), n + len(_GAINED)))
    volume, rate = drug.central_volume, n - 1
    matrix[_ABSORBING, _ABSORBING] = -drug.absorption_rate
    matrix[_CENTRAL, _ABSORBING] = drug.absorption_rate
    matrix[_CENTRAL, _CENTRAL] = -(drug.clearance_excretion + drug.clearance_skeleton) / volume
    for i, tissue in enumerate(drug.peripheral, start=2):
        matrix[_CENTRAL, _CENTRAL] -= tissue.clearance / volume
        matrix[i, _CENTRAL] = tissue.clearance / volume
        matrix[_CENTRAL, i] = tissue.clearance / tissue.volume
        matrix[i, i] = -tissue.clearance / tissue.volume
    matrix[_CENTRAL, rate] = 1.0
    matrix[n, _CENTRAL] = drug.clearance_skeleton / volume
    matrix[n + 1, _CENTRAL] = drug.clearance_excretion / volume
    matrix[n + 2, rate] = 1.0
    matrix[n + 3, _CENTRAL] = 1.0 / volume
    return matrix


class _Course(NamedTuple):
    """A drug followed over break points: what moves at each, what was gained before it, what was given."""

    breaks: Array  # (n,) h
    moving: Array  # (n, n_moving) just after the events at each break, nmol
    gained: Array  # (n, 4) gained in the segment that ends at each break
    given: Array  # (n,) nmol put into plasma or the absorbing site at once, at each break
    unabsorbed: Array  # (n,) nmol


def _follow(drug: Drug, doses: Sequence[Dose], times_h: Array) -> _Course:
    from scipy.linalg import expm

    starts = np.array([dose.time_h for dose in doses])
    stops = np.array([dose.time_h + dose.infusion_h for dose in doses])
    breaks = np.unique(np.concatenate([starts, stops, times_h]))
    given, unabsorbed, absorbed, rate = _place(drug, doses, starts, stops, breaks)
    matrix = _generator(drug)
    n = 3 + len(drug.peripheral)
    # Rounding the lengths (to 1e-9 h) lets one propagator serve all equal segments.
    lengths, which = np.unique(np.round(np.diff(breaks), 9), return_inverse=True)
    steps = [expm(matrix * length) for length in lengths]
    moving, gained = np.zeros((breaks.size, n)), np.zeros((breaks.size, len(_GAINED)))
    now = np.zeros(n)
    for i in range(breaks.size):
        if i > 0:
            after = steps[which[i - 1]][:, :n] @ now
            now, gained[i] = after[:n], after[n:]
        now[_ABSORBING] += absorbed[i]
        now[_CENTRAL] += given[i] - absorbed[i]
        now[_RATE] = rate[i]
        moving[i] = now
    if not np.isfinite(moving).all():
        raise NumericalError(f"pharmacokinetics of {drug.name} became invalid")
    return _Course(breaks, moving, gained, given, unabsorbed)


def _place(
    drug: Drug, doses: Sequence[Dose], starts: Array, stops: Array, breaks: Array
) -> tuple[Array, Array, Array, Array]:
    """Spread the doses over the break points: given at once, unabsorbed, absorbing (nmol), rate (nmol/h)."""
    given, unabsorbed, absorbed, rate, running = np.zeros((5, breaks.size))
    first, last = np.searchsorted(breaks, starts), np.searchsorted(breaks, stops)
    for dose, i, j in zip(doses, first, last):
        amount = _NMOL_G_PER_MG_MOL * dose.dose_mg / drug.molar_mass
        if dose.route != "iv":
            given[i] += drug.absorbed_fraction * amount
            absorbed[i] += drug.absorbed_fraction * amount
            unabsorbed[i] += (1.0 - drug.absorbed_fraction) * amount
        elif j > i:
            # The rate uses the break points themselves, so that the amount given is exact.
            rate[i:j] += amount / (breaks[j] - breaks[i])
            running[i:j] += 1
        else:
            given[i] += amount
    return given, unabsorbed, absorbed, np.where(running > 0, rate, 0.0)


def _sampled(course: _Course, times_h: Array) -> Array:
    return np.searchsorted(course.breaks, times_h)


def pharmacokinetics(drug: Drug, courses: Iterable[Any], times_h: Any) -> dict[str, Array]:
    """Amounts of a drug everywhere in the body at the asked times, just after any dose given then.

    Parameters
    ----------
    drug : Drug
    courses : iterable of Course
        Courses of other drugs are passed over. Doses may fall anywhere and before the first time.
    times_h : array_like (n,), h

    Returns
    -------
    dict of arrays (n,) unless said
        nmol: dosed, absorbing, plasma, peripheral (n, n_peripheral), skeleton, excreted, unabsorbed;
        concentration (total) and free, nmol/L; exposure, nmol h/L (the area under the total concentration).
        At every time dosed = absorbing + plasma + sum(peripheral) + skeleton + excreted + unabsorbed.

    Raises
    ------
    InputError
        The drug has no pharmacokinetics, or a course is not valid.
    """
    if not drug.has_kinetics:
        raise InputError(f"drug {drug.name} ({drug.drug_class}) has no pharmacokinetics")
    times = np.atleast_1d(np.asarray(times_h, dtype=np.float64))
    mine = [course for course in courses if course.drug == drug.name]
    doses = list_doses(mine, {drug.name: drug}, float(times.max()) + 1e-6)
    course = _follow(drug, doses, times)
    at = _sampled(course, times)
    gained = dict(zip(_GAINED, np.cumsum(course.gained, axis=0)[at].T))
    moving = course.moving[at]
    unabsorbed = np.cumsum(course.unabsorbed)[at]
    concentration = moving[:, _CENTRAL] / drug.central_volume
    return {
        "time_h": times,
        "dosed": np.cumsum(course.given)[at] + unabsorbed + gained["infused"],
        "absorbing": moving[:, _ABSORBING],
        "plasma": moving[:, _CENTRAL],
        "peripheral": moving[:, 2:_RATE],
        "skeleton": gained["skeleton"],
        "excreted": gained["excreted"],
        "unabsorbed": unabsorbed,
        "concentration": concentration,
        "free": drug.free_fraction * concentration,
        "exposure": gained["exposure"],
    }


# ---------------------------------------------------------------- forcing


def _tick_of(course: _Course, edges: Array) -> tuple[Array, NDArray[np.int64]]:
    """Index of the segments that lie in the ticks, and the tick of each."""
    tick = np.searchsorted(edges, course.breaks[:-1], side="right") - 1
    inside = np.flatnonzero((tick >= 0) & (tick < edges.size - 1))
    return inside, tick[inside]


def _tick_sums(course: _Course, edges: Array, name: str) -> Array:
    inside, tick = _tick_of(course, edges)
    gained = course.gained[inside + 1, _GAINED.index(name)]
    return np.bincount(tick, weights=np.maximum(gained, 0.0), minlength=edges.size - 1)


def _mean_response(drug: Drug, course: _Course, edges: Array, half: float) -> Array:
    """Mean over each tick of C / (C + half), C the free plasma concentration, within segments.

    The response saturates while C falls a hundredfold inside a tick, so the mean concentration would make
    the answer depend on the tick; quadrature inside segments does not.
    """
    from scipy.linalg import expm

    matrix, n = _generator(drug), course.moving.shape[1]
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    place = ((nodes + 1.0) / 2.0) ** 2  # denser just after a dose
    weights = weights * (nodes + 1.0) / 2.0
    inside, tick = _tick_of(course, edges)
    lengths, which = np.unique(np.round(np.diff(course.breaks), 9)[inside], return_inverse=True)
    total = np.zeros(edges.size - 1)
    for i, length in enumerate(lengths):
        to_plasma = np.array([expm(matrix * length * u)[_CENTRAL, :n] for u in place])
        rows = np.flatnonzero(which == i)
        amount = course.moving[inside[rows]] @ to_plasma.T
        free = drug.free_fraction * np.maximum(amount, 0.0) / drug.central_volume
        mean = (free / (free + half)) @ weights
        total += np.bincount(tick[rows], weights=mean * length, minlength=total.size)
    return total / np.diff(edges)


class _GammaDelta:
    """Activity A of gamma-delta T cells: dA/dt = sum_i r_i H(C_i) (ceiling - A) - A / decay_time, A(0) = 0.

    Solved exactly for the mean drive of steps that divide a tick; with several drugs the highest ceiling and
    the longest decay time hold.
    """

    def __init__(self, ticks: Array) -> None:
        self.parts = max(1, int(np.ceil((ticks[1] - ticks[0]) / _GAMMA_DELTA_STEP_H - 1e-9)))
        share = np.arange(self.parts) / self.parts
        inner = ticks[:-1, None] + np.diff(ticks)[:, None] * share
        self.edges: Array = np.append(inner.ravel(), ticks[-1])
        self.drive: Array = np.zeros(self.edges.size - 1)
        self.ceiling, self.decay_time = 0.0, 0.0

    def add(self, drug: Drug, course: _Course) -> None:
        """Let one drug, followed over `edges`, drive the activity."""
        response = _mean_response(drug, course, self.edges, drug.gamma_delta_ec50)
        self.drive += drug.gamma_delta_max_rate * response
        self.ceiling = max(self.ceiling, drug.gamma_delta_max_activity)
        self.decay_time = max(self.decay_time, drug.gamma_delta_decay_time)

    def means(self) -> Array:
        """Return the mean activity of each tick, 0-1."""
        mean = np.zeros(self.drive.size)
        if self.drive.any():
            step = self.edges[1] - self.edges[0]
            rate = self.drive + 1.0 / self.decay_time
            goal, fade = self.ceiling * self.drive / rate, np.exp(-rate * step)
            lag = (1.0 - fade) / (rate * step)
            activity = 0.0
            for i in range(mean.size):
                mean[i] = goal[i] + (activity - goal[i]) * lag[i]
                activity = goal[i] + (activity - goal[i]) * fade[i]
        return mean.reshape(-1, self.parts).mean(axis=1)


def _kill_hazard(drug: Drug, doses: Sequence[Dose], edges: Array) -> Array:
    """Tick means of the hazard that removes `log10_kill` decades in the exposure window of each course."""
    integral = np.zeros(edges.size)
    for dose in doses:
        decades = drug.log10_kill * dose.dose_mg / drug.reference_dose_mg
        hazard = decades * np.log(10.0) / drug.exposure_h
        integral += hazard * np.clip(edges - dose.time_h, 0.0, drug.exposure_h)
    return np.diff(integral) / np.diff(edges)


def _turnover_gain(drug: Drug, doses: Sequence[Dose], edges: Array) -> Array:
    """Tick values of the added share of activation: `turnover_gain`, fading since the last course."""
    times = np.array(sorted(dose.time_h for dose in doses if dose.dose_mg > 0))
    middle = (edges[:-1] + edges[1:]) / 2.0
    last = np.searchsorted(times, middle, side="right") - 1
    since = middle - times[np.maximum(last, 0)] if times.size else np.full(middle.size, np.inf)
    fading = np.exp(-np.maximum(since, 0.0) / drug.turnover_decay_time)
    return np.where(last >= 0, drug.turnover_gain * fading, 0.0)


def build_forcing(
    regimen: Iterable[Any],
    drugs: Mapping[str, Drug],
    patient: Any,
    n_steps: int,
    tick_h: float,
    start_h: float = 0.0,
) -> Forcing:
    """What reaches the niche in each tick of a run.

    Parameters
    ----------
    regimen : iterable of Course
    drugs : mapping of name to Drug
        Its order is the order of the drug columns; without drugs there is one empty column.
    patient : Patient
    n_steps : int
    tick_h : float, h
    start_h : float, h
        Time of the first tick's start on the clock of the courses and the patient; doses given before it
        are followed up to it (a spin-up starts at a negative time).

    Returns
    -------
    Forcing

    Raises
    ------
    InputError
        A course, the tick or the number of steps is not valid.
    """
    if n_steps < 1 or not tick_h > 0:
        raise InputError(f"forcing: needs at least one tick of positive length, not {n_steps} of {tick_h} h")
    edges = start_h + tick_h * np.arange(n_steps + 1)
    doses = list_doses(regimen, drugs, float(edges[-1]))
    uptake, plasma = np.zeros((2, n_steps, max(1, len(drugs))))
    unblocked, gamma_delta = np.ones(n_steps), _GammaDelta(edges)
    hazard, gain = np.zeros(n_steps), np.zeros(n_steps)
    for column, (name, drug) in enumerate(drugs.items()):
        mine = [dose for dose in doses if dose.drug == name]
        if not mine:
            continue
        if not drug.has_kinetics:
            hazard += _kill_hazard(drug, mine, edges)
            gain = np.maximum(gain, _turnover_gain(drug, mine, edges))
            continue
        wakes = drug.gamma_delta_max_rate > 0
        course = _follow(drug, mine, gamma_delta.edges if wakes else edges)
        uptake[:, column] = _tick_sums(course, edges, "skeleton") * _FMOL_PER_NMOL / drug.surface_area
        plasma[:, column] = drug.free_fraction * _tick_sums(course, edges, "exposure") / tick_h
        if np.isfinite(drug.rankl_half_concentration):
            unblocked *= 1.0 - _mean_response(drug, course, edges, drug.rankl_half_concentration)
        if wakes:
            gamma_delta.add(drug, course)
    activation, balance, rankl = _endocrine(patient, (edges[:-1] + edges[1:]) / 2.0)
    activation = activation * (1.0 + gain)
    return Forcing(
        uptake, plasma, gamma_delta.means(), 1.0 - unblocked, hazard, activation, balance, rankl
    )


def _endocrine(patient: Any, times_h: Array) -> tuple[Array, Array, Array]:
    curves = []
    for name in ("activation", "bone_balance", "rankl_factor"):
        values = np.atleast_1d(np.asarray(getattr(patient, name), dtype=np.float64))
        knots = np.atleast_1d(np.asarray(patient.times_h, dtype=np.float64))
        if values.size not in (1, knots.size) or np.any(np.diff(knots) <= 0) or not np.all(values >= 0):
            raise InputError(f"patient: {name} needs a value >= 0 for each of {knots.size} rising times")
        curves.append(np.interp(times_h, knots, np.broadcast_to(values, knots.shape)))
    return curves[0], curves[1], curves[2]


_EFFECT_FIELDS = {"swallow_depth_um": "swallow_depth"}  # named otherwise in `Drug`


def build_effects(drugs: Mapping[str, Drug]) -> DrugEffects:
    """Constants of the drugs for the kernels; without drugs, one inert drug.

    Parameters
    ----------
    drugs : mapping of name to Drug

    Returns
    -------
    DrugEffects
    """
    listed = list(drugs.values()) or [Drug("none", "bisphosphonate")]
    columns = {}
    for name in DrugEffects._fields:
        if name == "desorption":
            values = [np.log(2.0) / drug.desorption_half_life for drug in listed]
        else:
            values = [getattr(drug, _EFFECT_FIELDS.get(name, name)) for drug in listed]
        columns[name] = np.array(values, dtype=np.float64)
    return DrugEffects(**columns)
