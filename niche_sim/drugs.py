"""Drugs: what a drug file holds, and the constants that kernels take from it.

Inside units: h, L, mg (dose), nmol (amounts), nmol/L, um, fmol/um2.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from niche_sim.errors import InputError

Array = NDArray[Any]  # of float64

BISPHOSPHONATES = ("aminobisphosphonate", "bisphosphonate")
ANTIBODY = ("rank_ligand_antibody",)
CYTOTOXIC = ("cytotoxic",)
CLASSES = (*BISPHOSPHONATES, *ANTIBODY, *CYTOTOXIC)
ROUTES = ("iv", "oral", "sc")
DRUG_TEXT: dict[str, tuple[str, ...]] = {"name": (), "title": (), "class": CLASSES, "route": ROUTES}
"""Text keys of a drug file and their allowed words (empty: any); `title` is optional."""


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
