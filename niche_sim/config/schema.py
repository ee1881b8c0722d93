"""The shape of experiment, scene, patient and regimen files, and its JSON Schema.

Attributes are in inside units and carry them in their name where the key of the file does not.
"""

import math
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, create_model, field_validator

from niche_sim.config.quantity import Moments, choice, flag, quantity, refuse, text, whole
from niche_sim.drugs import ROUTES
from niche_sim.parameters import STATUSES
from niche_sim.units import write

PROCESSES = {
    "dosing": "Doses of all drugs; off, no drug is given.",
    "bone_drug": "Drug binds to bone, is buried by new bone and released by resorption; off, none is on bone.",
    "secretion": "Cells, bone and marrow release the factors of the fields; off, there are none.",
    "diffusion": "Factors spread, are taken up and decay; off, all concentrations are 0.",
    "remodelling": "Bone multicellular units open on bone surface and resorb and refill it; off, bone rests.",
    "osteoclasts": "Osteoclasts form from precursors and erode bone; off, there are none.",
    "osteoblasts": "Osteoblasts refill what was eroded; off, there are none.",
    "macrophages": "Macrophages of the marrow: their number, polarisation and load of drug; off, there are none.",
    "suitability": "Niche suitability of each voxel; off, it is 1 everywhere.",
    "arrival": "Tumour cells arrive with the blood; off, none does.",
    "dormancy": "Tumour cells fall asleep and wake; off, each stays dormant or cycling as it is.",
    "division": "Cycling tumour cells divide; off, none does.",
    "migration": "Cells walk: tumour cells, precursors, macrophages; off, all stay where they are.",
    "death": "Tumour cells die, of any cause; off, none does.",
    "egress": "Tumour cells beside a vessel leave with the blood; off, none does.",
}
"""The processes of a tick, each with what it does, in a line."""
EFFECTS = {
    "drug_osteoclast": "What a drug does to osteoclasts.",
    "drug_macrophage": "What a drug does to macrophages: polarisation, and death by liposomes.",
    "drug_tumour": "What a drug on bone does to tumour cells that touch it: death and slower division.",
    "drug_adhesion": "A coat of drug on bone makes it a worse hold for tumour cells.",
    "drug_gamma_delta": "An aminobisphosphonate activates gamma-delta T cells, which kill tumour cells.",
    "chemotherapy": "Chemotherapy kills tumour cells (what it does to ovaries and turnover stays).",
    "vicious_cycle": "PTHrP of tumour cells raises RANKL and lowers OPG.",
    "mutation": "Daughters may become resistant to chemotherapy or adapted to bone.",
    "angiogenic_dormancy": "A crowded lesion without vessels stays in balance until vessels sprout (usually off).",
    "immune_dormancy": "Immunity kills cycling tumour cells where TGF-beta is low (usually off).",
    "suitability_contact": "Contact with resting bone or a vessel counts for suitability.",
    "suitability_cxcl12": "CXCL12 counts for suitability.",
    "suitability_nourishment": "IGF-1 and TGF-beta count for suitability.",
    "suitability_places": "Places held by haematopoietic stem cells count for suitability.",
    "suitability_macrophages": "Support by macrophages counts for suitability.",
    "wake_spontaneous": "Dormant tumour cells wake spontaneously.",
    "wake_factors": "Factors released by resorption wake dormant tumour cells.",
    "wake_lining": "Loss of the lining of bone, where it is remodelled, wakes dormant tumour cells.",
    "wake_sprouting": "A sprouting vessel wakes dormant tumour cells beside it.",
    "growth_factors": "Factors released by resorption drive division; off, only what marrow secretes everywhere does.",
    "rankl_on_tumour": "RANKL primes waking and growth of tumour cells; off, as with replete oestradiol.",
    "phagocytosis": "Macrophages engulf tumour cells beside them.",
    "osteoblast_loss": "Cycling tumour cells kill osteoblasts and keep them from being recruited.",
    "tumour_fates": "What happens to tumour cells; off, their hazards are measured and nothing comes of them.",
    "quiescent_shelter": "Dormancy shelters tumour cells from chemotherapy.",
    "vessel_shelter": "The place beside a vessel shelters tumour cells from chemotherapy.",
    "endocrine_therapy": "Endocrine therapy slows division and waking of tumour cells (what it does to bone stays).",
    "osteal_support": "Macrophages keep osteoblasts; off, as at rest.",
    "tumour_support": "Support by macrophages drives division of tumour cells; off, as at rest.",
}
"""The effects that can be switched off alone, each with what it is, in a line."""
SWITCHES = (*PROCESSES, *EFFECTS)
"""Everything that can be switched on or off, by name."""
DEFAULT_SWITCHES = {name: name not in ("angiogenic_dormancy", "immune_dormancy") for name in SWITCHES}

MOST_SEED = 2**64 - 1
MOST_DOSES = 100_000
MOST_PICTURES = 1000

# Each arm is a folder of the result; some names are devices on some systems.
ARM_NAME = r"(?!__)(?!(?i:con|prn|aux|nul|com\d|lpt\d)$)[A-Za-z0-9_-]{1,64}"
DISTRIBUTIONS = ("lognormal", "normal")
SPREAD_NAME = r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){1,5}"

Name = Annotated[str, text(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", "a name of letters, digits, _ and - (at most 64)")]
Title = Annotated[str, text(r"[^\n]*", "one line of text", 300)]
ImageFile = Annotated[str, text(r"[^\n]*\.(npy|tiff?|png|NPY|TIFF?|PNG)", "a .npy, .tif, .tiff or .png file", 1000)]
Note = Annotated[str, text(r"[\s\S]*", "a text", 5000)]


class Strict(BaseModel):
    """A mapping whose keys are all known."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=False)


class TimeModel(Strict):
    """Length of a run, its tick, and the time that bone remodels before it."""

    length_h: Annotated[float, quantity("0 h", "100 yr", unit="h", above=True)] = Field(alias="length")
    tick_h: Annotated[float, quantity("1 min", "24 h", unit="h")] = Field(alias="tick", default=6.0)
    spin_up_h: Annotated[float, quantity("0 h", "100 yr", unit="h")] = Field(alias="spin_up", default=0.0)

    @field_validator("tick_h")
    @classmethod
    def _divides_a_day(cls, tick: float) -> float:
        if not is_whole(24.0 / tick):
            raise refuse("range", f"a day is not a whole number of ticks of {write(tick, 'h')}")
        return tick


class PopulationModel(Strict):
    """Tumour cells at time 0."""

    dormant_dtc: Annotated[int, whole(0, 1_000_000)] = 0
    cycling_dtc: Annotated[int, whole(0, 1_000_000)] = 0


class RecordModel(Strict):
    """What is recorded and how often; nothing here changes the simulation."""

    series_h: Annotated[float | None, quantity("0 h", "100 yr", unit="h", above=True, off=True)] = Field(
        alias="series", default=24.0
    )
    events: Annotated[bool, flag()] = True
    cells_h: Annotated[float | None, quantity("0 h", "100 yr", unit="h", above=True, off=True)] = Field(
        alias="cells", default=None
    )
    fields_h: Annotated[float | None, quantity("0 h", "100 yr", unit="h", above=True, off=True)] = Field(
        alias="fields", default=None
    )
    ledgers_h: Annotated[float | None, quantity("0 h", "100 yr", unit="h", above=True, off=True)] = Field(
        alias="ledgers", default=720.0
    )
    pictures_h: (
        Annotated[
            list[Annotated[float, quantity("0 h", "100 yr", unit="h")]],
            Field(max_length=MOST_PICTURES),
            Moments(quantity("0 h", "100 yr", unit="h", above=True, off=True)),
        ]
        | None
    ) = Field(alias="pictures", default=None)
    """A list of times, or a float: the interval from the start on; the end is then a picture too."""


class CourseModel(Strict):
    """Doses of one drug: one dose at `start`, or one every `interval` until before `until` or as many as `doses`.

    With a `cycle` the `doses` begin again every `cycle`, until before `until`.
    A dose that is due is taken with the probability `adherence`; those whose numbers (from 1) are in `missed` are not.
    """

    drug: Name = Field(title="Drug")
    dose_mg: Annotated[float, quantity("0 mg", "100 g", unit="mg", above=True)] = Field(alias="dose", title="Dose")
    interval_h: Annotated[float, quantity("1 h", "100 yr", unit="h")] | None = Field(
        alias="interval", default=None, title="Repeated every"
    )
    start_h: Annotated[float, quantity("0 h", "100 yr", unit="h")] = Field(alias="start", default=0.0, title="First dose at")
    until_h: Annotated[float, quantity("0 h", "100 yr", unit="h")] | None = Field(
        alias="until", default=None, title="Until before"
    )
    route: Annotated[str, choice(*ROUTES)] | None = Field(default=None, title="Route")
    infusion_h: Annotated[float, quantity("0 h", "24 h", unit="h")] | None = Field(
        alias="infusion", default=None, title="Infused over"
    )
    doses: Annotated[int, whole(1, MOST_DOSES)] | None = Field(default=None, title="No. of doses")
    cycle_h: Annotated[float, quantity("1 d", "100 yr", unit="h")] | None = Field(
        alias="cycle", default=None, title="New cycle every"
    )
    adherence: Annotated[float, quantity(0, 1)] = Field(default=1.0, title="Adherence")
    missed: list[Annotated[int, whole(1, MOST_DOSES)]] = Field(
        default=[], max_length=MOST_DOSES, title="Missed doses"
    )


class RegimenModel(Strict):
    """A regimen file: courses under a title."""

    name: Name | None = None
    title: Title = ""
    note: Note = ""
    courses: list[CourseModel] = Field(max_length=1000)


def _switches() -> Any:
    fields: Any = {
        name: (Annotated[bool, flag()] | None, Field(default=None, description=words))
        for name, words in (PROCESSES | EFFECTS).items()
    }
    return create_model("SwitchesModel", __base__=Strict, __doc__="Processes and effects, on or off.", **fields)


SwitchesModel: Any = _switches()


class ChangeModel(Strict):
    """What becomes different in an arm from a time on."""

    at_h: Annotated[float, quantity("0 h", "100 yr", unit="h", above=True)] = Field(alias="at")
    override: Any = None
    switches: SwitchesModel | None = None


class ArmModel(Strict):
    """One arm: a regimen and what differs from the experiment."""

    regimen: Any = None
    override: Any = None
    switches: SwitchesModel | None = None
    changes: list[ChangeModel] | None = Field(default=None, max_length=100)


class SinusoidModel(Strict):
    """What every scene has: voxels, boundary and sinusoids."""

    name: Name | None = None
    title: Title = ""
    note: Note = ""
    voxel_um: Annotated[float, quantity("2 um", "100 um", unit="um")] = Field(alias="voxel")
    boundary: Annotated[str, choice("periodic", "closed")] = "periodic"
    sinusoid_spacing_um: Annotated[float, quantity("20 um", "5 mm", unit="um")] = Field(alias="sinusoid_spacing")
    sinusoid_diameter_um: Annotated[float, quantity("2 um", "500 um", unit="um")] = Field(alias="sinusoid_diameter")
    seed: Annotated[int, whole(0, MOST_SEED)] | None = None

    @property
    def periodic(self) -> bool:
        """Whether the lattice closes on itself."""
        return self.boundary == "periodic"

    def plain(self) -> dict[str, Any]:
        """Return the scene with the keys of its file and values in inside units."""
        return self.model_dump(by_alias=True, exclude_none=True, exclude={"name", "title", "note"})


class GeneratedScene(SinusoidModel):
    """Trabeculae made from a target structure."""

    kind: Annotated[str, choice("generated")] = "generated"
    size_um: list[Annotated[float, quantity("0 um", "50 mm", unit="um", above=True)]] = Field(
        alias="size", min_length=2, max_length=3
    )
    bone_volume_fraction: Annotated[float, quantity(0.02, 0.6)]
    trabecular_thickness_um: Annotated[float, quantity("20 um", "1 mm", unit="um")] = Field(alias="trabecular_thickness")
    trabecular_separation_um: Annotated[float, quantity("40 um", "5 mm", unit="um")] = Field(alias="trabecular_separation")


class ImageScene(SinusoidModel):
    """Trabeculae read from a mask or a micro-CT stack."""

    kind: Annotated[str, choice("image")] = "image"
    file: ImageFile
    image_voxel_um: Annotated[float, quantity("0.1 um", "200 um", unit="um")] = Field(alias="image_voxel")
    threshold: Annotated[float, quantity("-1e9", "1e9")] | None = None


SCENES: dict[str, type[SinusoidModel]] = {"generated": GeneratedScene, "image": ImageScene}
SceneSpec = GeneratedScene | ImageScene


class SpreadModel(Strict):
    """How one number differs between the patients of a cohort."""

    name: Annotated[str, text(SPREAD_NAME, "the dotted name of a parameter, patient.KEY or drugs.DRUG.KEY", 200)]
    cv: Annotated[float, quantity(0, 3, above=True)]
    distribution: Annotated[str, choice(*DISTRIBUTIONS)] = "lognormal"
    range: list[Any] | None = Field(default=None, min_length=2, max_length=2)
    status: Annotated[str, choice(*STATUSES)]
    source: str
    note: Note = ""


class ExperimentModel(Strict):
    """An experiment: one patch of marrow, its patient, and the arms that share every random draw."""

    name: Name
    title: Title = ""
    note: Note = ""
    seed: Annotated[int, whole(0, MOST_SEED)] = 0
    parameters: Any = "human"
    scene: Any
    patient: Any
    drugs: Any = None
    time: TimeModel
    population: PopulationModel = PopulationModel()
    arms: dict[str, ArmModel] = Field(min_length=1, max_length=100)
    switches: SwitchesModel | None = None
    override: Any = None
    record: RecordModel = RecordModel()
    spread: list[SpreadModel] = Field(default=[], max_length=100)


def is_whole(ratio: float) -> bool:
    """Whether a ratio is a whole number, up to rounding."""
    return math.isfinite(ratio) and abs(ratio - round(ratio)) < 1e-6


def list_keys(model: type[BaseModel]) -> list[str]:
    """Return the keys of a model as a file writes them."""
    return [info.alias or name for name, info in model.model_fields.items()]


def find_model(model: type[BaseModel], path: tuple[str | int, ...]) -> type[BaseModel] | None:
    """Return the model of the mapping at a path inside a model, None where there is none."""
    annotation: Any = model
    for key in path:
        annotation = _step(annotation, key)
    found = [part for part in _parts(annotation) if isinstance(part, type) and issubclass(part, BaseModel)]
    return found[0] if found else None


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield the members of a union."""
    if get_origin(annotation) in (dict, list) or not get_args(annotation):
        yield annotation
    else:
        for inner in get_args(annotation):
            yield from _parts(inner)


def _step(annotation: Any, key: str | int) -> Any:
    for part in _parts(annotation):
        if get_origin(part) in (dict, list):
            return get_args(part)[-1]
        if isinstance(part, type) and issubclass(part, BaseModel):
            for name, info in part.model_fields.items():
                if key == (info.alias or name):
                    return info.annotation
    return None


# ---------------------------------------------------------------- JSON Schema


def build_schema(names: dict[str, list[str]], parameters: list[str]) -> dict[str, Any]:
    """Return the JSON Schema (Draft 2020-12) of experiment files.

    Parameters
    ----------
    names : dict of kind to list of str
        As `list_available` returns them; offered by editors, other paths stay allowed.
    parameters : list of str
        Dotted names that `override` may use.
    """
    schema = ExperimentModel.model_json_schema(by_alias=True)
    definitions = schema["$defs"]
    extra: tuple[type[Strict], ...] = (GeneratedScene, ImageScene, RegimenModel)
    for model in extra:
        inner = model.model_json_schema(by_alias=True)
        definitions.update(inner.pop("$defs", {}))
        definitions[model.__name__] = inner
    for kind, model in SCENES.items():
        definitions[model.__name__]["properties"]["kind"] = {"const": kind}
        definitions[model.__name__].setdefault("required", []).append("kind")
    courses = {"type": "array", "items": {"$ref": "#/$defs/CourseModel"}}
    override = _override_schema(parameters)
    properties, arm = schema["properties"], definitions["ArmModel"]["properties"]
    scene = {"oneOf": [{"$ref": f"#/$defs/{model.__name__}"} for model in SCENES.values()]}
    properties["scene"] = _named(names["scenes"], scene)
    properties["patient"] = _named(names["patients"], {"type": "object"})
    extends = {"anyOf": _named(names["parameters"], {})["anyOf"][:2]}
    parameters_inline = {"type": "object", "properties": {"extends": extends}}
    properties["parameters"] = _named(names["parameters"], parameters_inline) | {"default": "human"}
    properties["drugs"] = {
        "type": "object",
        "additionalProperties": _named(names["drugs"], {"type": "object"}),
    }
    properties["override"] = arm["override"] = override
    properties["arms"]["propertyNames"] = {"pattern": "^[A-Za-z0-9_-]{1,64}$"}
    arm["regimen"] = _named(names["regimens"], courses)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "niche_sim experiment"}
    return head | {key: value for key, value in schema.items() if key != "title"}


def _named(names: list[str], inline: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [{"enum": names}, {"type": "string", "pattern": r"\.ya?ml$"}, inline]}


def _override_schema(parameters: list[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "propertyNames": {"enum": parameters},
        "additionalProperties": {"type": ["string", "number"]},
    }
