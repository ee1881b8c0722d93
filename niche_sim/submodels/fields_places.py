"""The parts of a file about fields alone: places, and what is secreted, taken up or released there."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from niche_sim.config.quantity import Reading, flag, quantity, read_quantity, refuse, text, whole
from niche_sim.config.schema import Strict
from niche_sim.errors import InputError
from niche_sim.submodels.fields_formula import formula
from niche_sim.units import inside_unit, split

MOST_ALONG = 1_000_000

_VOXEL = whole(0, MOST_ALONG)
_LENGTH = quantity("0 um", "1 m", unit="um")
LEVEL = quantity("0 nmol/L", "1e12 nmol/L", unit="nmol/L")
TIME = quantity("0 h", "100 yr", unit="h")
RATE = quantity("0 /h", "1e9 /h", unit="1/h")
_AMOUNT = quantity("0 fmol", "1e15 fmol", unit="fmol")
Formula = Annotated[str, formula()]
ArrayFile = Annotated[str, text(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*\.npy", "the name of a .npy file beside this one", 200)]
Interval = Annotated[list[Annotated[int, _VOXEL]], Field(min_length=2, max_length=2)]
Stretch = Annotated[list[Annotated[float, _LENGTH]], Field(min_length=2, max_length=2)]


def read_number() -> Reading:
    """Return how to read a number, or a quantity of any unit, in inside units."""

    def read(value: object) -> float:
        try:
            unit = inside_unit(split(value)[1]) if isinstance(value, str) else ""
        except InputError as error:
            raise refuse("unit", str(error)) from None
        return read_quantity(value, unit)

    return Reading(
        read, lambda: {"type": ["number", "string"], "description": "a number, or a quantity with its unit, in inside units"}
    )


class VoxelModel(Strict):
    """A whole number for each axis."""

    x: Annotated[int, _VOXEL]
    y: Annotated[int, _VOXEL] | None = None
    z: Annotated[int, _VOXEL] | None = None


class SizeModel(Strict):
    """A length for each axis."""

    x: Annotated[float, _LENGTH]
    y: Annotated[float, _LENGTH] | None = None
    z: Annotated[float, _LENGTH] | None = None


class BoxModel(Strict):
    """First and last voxel along each axis; an axis that is not named is taken whole."""

    x: Interval | None = None
    y: Interval | None = None
    z: Interval | None = None


class BetweenModel(Strict):
    """Lengths from the corner; voxels whose centre is at or above the first and below the second."""

    x: Stretch | None = None
    y: Stretch | None = None
    z: Stretch | None = None


class PlaceModel(Strict):
    """Where something is."""

    at: VoxelModel | None = None
    box: BoxModel | None = None
    between: BetweenModel | None = None
    mask: ArrayFile | None = None
    everywhere: Annotated[bool, flag()] = False

    @model_validator(mode="after")
    def _isneed_one(self) -> Any:
        given = [self.at, self.box, self.between, self.mask, self.everywhere or None]
        count = sum(part is not None for part in given)
        bare = count == 0 and (getattr(self, "formula", None) is not None or getattr(self, "values", None) is not None)
        if count != 1 and not bare:
            raise refuse("value", "give one place: at, box, between, mask or everywhere: true")
        return self


def need_one(owner: Any, *names: str) -> Any:
    if sum(getattr(owner, name) is not None for name in names) != 1:
        raise refuse("value", f"give one of {', '.join(names)}")
    return owner


class SourceModel(PlaceModel):
    """Secretion: per volume, or an amount per time spread evenly over its place."""

    secretion: Annotated[float, quantity("0 nmol/L/h", "1e15 nmol/L/h", unit="nmol/L/h")] | None = None
    amount: Annotated[float, quantity("0 fmol/h", "1e15 fmol/h", unit="fmol/h")] | None = None
    formula: Formula | None = None
    values: ArrayFile | None = None
    start_h: Annotated[float, TIME] = Field(alias="start", default=0.0)
    until_h: Annotated[float, TIME] | None = Field(alias="until", default=None)

    @model_validator(mode="after")
    def _has_strength(self) -> "SourceModel":
        return need_one(self, "secretion", "amount", "formula", "values")


class UptakeModel(PlaceModel):
    """Uptake in proportion to concentration."""

    rate: Annotated[float, RATE] | None = None
    formula: Formula | None = None
    values: ArrayFile | None = None

    @model_validator(mode="after")
    def _has_strength(self) -> "UptakeModel":
        return need_one(self, "rate", "formula", "values")


class ReleaseModel(PlaceModel):
    """An amount that appears at once, spread evenly over its place."""

    time_h: Annotated[float, TIME] = Field(alias="time", default=0.0)
    amount: Annotated[float, _AMOUNT] | None = None
    concentration: Annotated[float, LEVEL] | None = None

    @model_validator(mode="after")
    def _has_amount(self) -> "ReleaseModel":
        return need_one(self, "amount", "concentration")
