"""Drugs: what a drug file holds, and the constants that kernels take from it.

Inside units: h, L, mg (dose), nmol (amounts), nmol/L, um, fmol/um2.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from niche_sim.errors import InputError
from niche_sim.kinds import MOST_TISSUES

Array = NDArray[Any]  # of float64

BISPHOSPHONATES = ("aminobisphosphonate", "bisphosphonate")
ANTIBODY = ("rank_ligand_antibody",)
CYTOTOXIC = ("cytotoxic",)
OVARIAN = ("ovarian_suppressant",)
ENDOCRINE = ("endocrine_therapy",)
LIPOSOMAL = ("liposomal_bisphosphonate",)
IN_A_WINDOW = (*CYTOTOXIC, *OVARIAN, *ENDOCRINE, *LIPOSOMAL)
"""Classes that act for a time after each dose and are not followed through the body."""
CLASSES = (*BISPHOSPHONATES, *ANTIBODY, *IN_A_WINDOW)
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
    "infusion": Leaf("h", (), "infusion_h"),
    "pharmacokinetics": {
        "central_volume": Leaf("L", _KINETIC, "central_volume"),
        "clearance_excretion": Leaf("L/h", _KINETIC, "clearance_excretion"),
        "clearance_skeleton": Leaf("L/h", BISPHOSPHONATES, "clearance_skeleton"),
        "free_fraction": Leaf("", _KINETIC, "free_fraction"),
        "peripheral": [{"volume": Leaf("L", (), "volume"), "clearance": Leaf("L/h", (), "clearance")}],
    },
    "skeleton": {"affinity": Leaf("L/nmol", BISPHOSPHONATES, "affinity")},
    "effects": {
        "osteoclast": {"potency": Leaf("", BISPHOSPHONATES, "osteoclast_potency")},
        "macrophage": {
            "half_concentration": Leaf("nmol/L", BISPHOSPHONATES, "macrophage_half_concentration"),
            "uptake": Leaf("", BISPHOSPHONATES, "macrophage_uptake"),
        },
        "tumour": {
            "half_load": Leaf("fmol/um^2", BISPHOSPHONATES, "tumour_half_load"),
            "adhesion_loss": Leaf("", BISPHOSPHONATES, "adhesion_loss"),
        },
        "gamma_delta": {"ec50": Leaf("nmol/L", _AMINO, "gamma_delta_ec50")},
        "rank_ligand": {
            "half_concentration": Leaf("nmol/L", ANTIBODY, "rankl_half_concentration"),
            "rebound_gain": Leaf("", ANTIBODY, "rankl_rebound_gain"),
            "rebound_memory": Leaf("h", ANTIBODY, "rankl_rebound_memory"),
        },
        "chemotherapy": {
            "log10_kill": Leaf("", CYTOTOXIC, "log10_kill"),
            "reference_dose": Leaf("mg", CYTOTOXIC, "reference_dose_mg"),
            "exposure": Leaf("h", CYTOTOXIC, "exposure_h"),
            "turnover_gain": Leaf("", CYTOTOXIC, "turnover_gain"),
            "turnover_decay_time": Leaf("h", CYTOTOXIC, "turnover_decay_time"),
        },
        "phagocytes": {
            "log10_kill": Leaf("", LIPOSOMAL, "phagocyte_log10_kill"),
            "reference_dose": Leaf("mg", LIPOSOMAL, "phagocyte_reference_dose_mg"),
            "exposure": Leaf("h", LIPOSOMAL, "phagocyte_exposure_h"),
            "osteoclast_share": Leaf("", LIPOSOMAL, "phagocyte_osteoclast_share"),
        },
        "ovary": {
            "suppression": Leaf("", OVARIAN, "ovary_suppression"),
            "duration": Leaf("h", OVARIAN, "ovary_duration"),
            "onset": Leaf("h", OVARIAN, "ovary_onset"),
            "recovery": Leaf("h", OVARIAN, "ovary_recovery"),
        },
        "hormone": {
            "growth": Leaf("", ENDOCRINE, "hormone_growth"),
            "waking": Leaf("", ENDOCRINE, "hormone_waking"),
            "aromatase": Leaf("", (), "hormone_aromatase"),
            "bone_share": Leaf("", (), "hormone_bone_share"),
            "bone_oestradiol": Leaf("nmol/L", (), "hormone_bone_oestradiol"),
            "duration": Leaf("h", ENDOCRINE, "hormone_duration"),
            "onset": Leaf("h", ENDOCRINE, "hormone_onset"),
            "recovery": Leaf("h", ENDOCRINE, "hormone_recovery"),
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

    `affinity` is the constant of binding to apatite; `osteoclast_potency` is per mole and relative to the first drug of
    the class (zoledronate, clodronate); `tumour_half_load` counts drug on the bone surface that a tumour cell touches;
    `macrophage_uptake` multiplies the concentration around a macrophage to give the one that reaches its cytosol.
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
    affinity: float = 1.0
    osteoclast_potency: float = 0.0
    macrophage_half_concentration: float = np.inf
    macrophage_uptake: float = 0.0
    tumour_half_load: float = np.inf
    adhesion_loss: float = 0.0
    gamma_delta_ec50: float = np.inf
    rankl_half_concentration: float = np.inf
    rankl_rebound_gain: float = 0.0
    rankl_rebound_memory: float = 1.0
    log10_kill: float = 0.0
    reference_dose_mg: float = 1.0
    exposure_h: float = 1.0
    turnover_gain: float = 0.0
    turnover_decay_time: float = 1.0
    ovary_suppression: float = 0.0
    ovary_duration: float = 1.0
    ovary_onset: float = 1.0
    ovary_recovery: float = 1.0
    hormone_growth: float = 1.0
    hormone_waking: float = 1.0
    hormone_aromatase: float = 0.0
    hormone_bone_share: float = 0.0
    hormone_bone_oestradiol: float = 0.0
    hormone_duration: float = 1.0
    hormone_onset: float = 1.0
    hormone_recovery: float = 1.0
    phagocyte_log10_kill: float = 0.0
    phagocyte_reference_dose_mg: float = 1.0
    phagocyte_exposure_h: float = 1.0
    phagocyte_osteoclast_share: float = 0.0

    @property
    def has_kinetics(self) -> bool:
        """Whether the drug is followed through the body (others act in a window after each dose)."""
        return self.drug_class not in IN_A_WINDOW


class DrugEffects(NamedTuple):
    """Constants of every drug for the kernels, each (n_drugs,) float64, in the column order of `Forcing`."""

    osteoclast_kmax: Array  # 1/h
    osteoclast_half_load: Array  # fmol/um2 swallowed per um2 of front
    osteoclast_hill: Array
    desorption: Array  # 1/h
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


_POSITIVE = (
    "molar_mass", "central_volume", "affinity", "exposure_h", "macrophage_half_concentration", "tumour_half_load",
    "gamma_delta_ec50", "rankl_half_concentration", "rankl_rebound_memory", "reference_dose_mg",
    "turnover_decay_time", "ovary_onset", "ovary_recovery", "hormone_onset", "hormone_recovery",
    "phagocyte_reference_dose_mg", "phagocyte_exposure_h",
)  # fmt: skip
_FRACTION = (
    "absorbed_fraction", "free_fraction", "adhesion_loss", "ovary_suppression", "hormone_growth", "hormone_waking",
    "hormone_aromatase", "hormone_bone_share", "phagocyte_osteoclast_share",
)  # fmt: skip


def find_fault(field: str, value: float) -> str:
    """Return why a field of `Drug` cannot have a value, as "must ...", or an empty text."""
    if field in _FRACTION and value > 1:
        return f"must be between 0 and 1; write '{value:g} %' for percent"
    if field in _POSITIVE and not value > 0:
        return "must be above 0"
    return "" if value >= 0 else "must not be below 0"


def list_classes(layout: Any) -> tuple[str, ...]:
    """Return the classes that need a number of a part of the layout."""
    if isinstance(layout, Leaf):
        return layout.required_for
    inner = layout if isinstance(layout, list) else layout.values()
    return tuple(dict.fromkeys(name for entry in inner if isinstance(entry, (Leaf, dict)) for name in list_classes(entry)))


def _check_drug(drug: Drug) -> None:
    for item in fields(drug):
        value = getattr(drug, item.name)
        fault = find_fault(item.name, value) if isinstance(value, float) else ""
        if fault:
            raise InputError(f"drug {drug.name}: {item.name} = {value} {fault}")
    if len(drug.peripheral) > MOST_TISSUES:
        raise InputError(f"drug {drug.name}: {len(drug.peripheral)} peripheral tissues; at most {MOST_TISSUES}")
    for tissue in drug.peripheral:
        if not (tissue.volume > 0 and tissue.clearance >= 0):
            raise InputError(f"drug {drug.name}: peripheral {tuple(tissue)} is not allowed")
    if drug.hormone_bone_share > 0 and drug.hormone_bone_oestradiol == 0:
        raise InputError(f"drug {drug.name}: hormone.bone_share needs hormone.bone_oestradiol above 0")
    if drug.route != "iv" and drug.absorption_rate == 0 and drug.has_kinetics:
        raise InputError(f"drug {drug.name}: route {drug.route} needs absorption_rate")


class BoneLaws(NamedTuple):
    """What all bisphosphonates share on bone: the group `drug_on_bone` of a parameter set."""

    surface_area: float = 8.5e12  # um2 of the skeleton that takes drug up
    full_coat: float = 1.3e-3  # fmol/um2
    reference_affinity: float = 3.47e-3  # L/nmol
    desorption_half_life: float = 3288.0  # h, at the reference affinity
    affinity_exponent: float = 0.7


def read_bone_laws(parameters: Any) -> BoneLaws:
    """Return the group `drug_on_bone` of a parameter set."""
    group = parameters.group("drug_on_bone")
    return BoneLaws(**{name: float(group[name]) for name in BoneLaws._fields})


class CellLaws(NamedTuple):
    """What all bisphosphonates share on cells: the group `drug_on_cells` of a parameter set."""

    osteoclast_kmax: float = 0.0  # 1/h
    osteoclast_hill: float = 1.0
    aminobisphosphonate_half_load: float = 1.0  # fmol/um2 at potency 1
    bisphosphonate_half_load: float = 1.0  # fmol/um2 at potency 1
    macrophage_kmax: float = 0.0  # 1/h
    macrophage_hill: float = 1.0
    tumour_kmax: float = 0.0  # 1/h
    tumour_cytostasis: float = 0.0
    gamma_delta_rate: float = 0.0  # 1/h
    gamma_delta_decay_time: float = 1.0  # h


def read_cell_laws(parameters: Any) -> CellLaws:
    """Return the group `drug_on_cells` of a parameter set."""
    group = parameters.group("drug_on_cells")
    return CellLaws(**{name: float(group[name]) for name in CellLaws._fields})


def desorption_rate(drug: Drug, laws: BoneLaws) -> float:
    """Return the hazard (1/h) at which a molecule leaves exposed mineral: slower the higher the affinity K.

    k_off = ln 2 / half-life at the reference x (K_reference / K) ** exponent.
    """
    slower = (drug.affinity / laws.reference_affinity) ** laws.affinity_exponent
    return float(np.log(2.0)) / (laws.desorption_half_life * slower)


def _find_shared(drug: Drug, bone: BoneLaws, cells: CellLaws) -> dict[str, float]:
    """Return the constants that follow from class, affinity and potency; what is no bisphosphonate does nothing."""
    amino = drug.drug_class == BISPHOSPHONATES[0]
    acts = 1.0 if drug.drug_class in BISPHOSPHONATES else 0.0
    kills = acts if drug.osteoclast_potency > 0.0 else 0.0
    half_load = cells.aminobisphosphonate_half_load if amino else cells.bisphosphonate_half_load
    return {
        "osteoclast_kmax": kills * cells.osteoclast_kmax, "osteoclast_hill": cells.osteoclast_hill,
        "osteoclast_half_load": half_load / drug.osteoclast_potency if kills else 1.0,
        "macrophage_kmax": acts * cells.macrophage_kmax, "macrophage_hill": cells.macrophage_hill,
        "tumour_kmax": acts * cells.tumour_kmax, "tumour_cytostasis": acts * cells.tumour_cytostasis,
        "desorption": desorption_rate(drug, bone), "full_coat": bone.full_coat,
    }  # fmt: skip


def build_effects(drugs: Mapping[str, Drug], bone: BoneLaws, cells: CellLaws) -> DrugEffects:
    """Constants of the drugs for the kernels; without drugs, one inert drug.

    Parameters
    ----------
    drugs : mapping of name to Drug
    bone : BoneLaws
    cells : CellLaws

    Returns
    -------
    DrugEffects
    """
    listed = list(drugs.values()) or [Drug("none", BISPHOSPHONATES[1])]
    shared = [_find_shared(drug, bone, cells) for drug in listed]
    columns = {
        name: np.array([found[name] if name in found else getattr(drug, name) for drug, found in zip(listed, shared)])
        for name in DrugEffects._fields
    }
    return DrugEffects(**columns)
