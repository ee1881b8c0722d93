"""The keys of a file about fields alone.

Places are given by axis: {x: 3}, {x: 3, y: 4} or {x: 3, y: 4, z: 5}; which axes `voxels` or `size` names is the dimension.
"""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field, model_validator

from niche_sim.config.quantity import choice, flag, quantity, refuse, whole
from niche_sim.config.schema import Strict
from niche_sim.submodels.base import SubModel
from niche_sim.submodels.fields_places import (
    LEVEL,
    RATE,
    TIME,
    ArrayFile,
    Formula,
    PlaceModel,
    ReleaseModel,
    SizeModel,
    SourceModel,
    UptakeModel,
    VoxelModel,
    need_one,
    read_number,
)

MOST_VOXELS = 2_000_000
AXES = ("x", "y", "z")
METHODS = ("auto", "sweeps", "direct", "gradients")


class InitialModel(Strict):
    """The field at time 0."""

    value: Annotated[float, LEVEL] | None = None
    formula: Formula | None = None
    values: ArrayFile | None = None

    @model_validator(mode="after")
    def _is_one(self) -> "InitialModel":
        return need_one(self, "value", "formula", "values")


class FaceModel(Strict):
    """The condition at a face of the lattice."""

    kind: Annotated[str, choice("no_flux", "periodic", "fixed")]
    value: Annotated[float, LEVEL] | None = None
    formula: Formula | None = None

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, data: Any) -> Any:
        return {"kind": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _fits(self) -> "FaceModel":
        given = sum(part is not None for part in (self.value, self.formula))
        if self.kind == "fixed" and given != 1:
            raise refuse("missing", "a fixed face needs either value or formula")
        if self.kind != "fixed" and given:
            raise refuse("value", f"only a fixed face has a value, not one that is {self.kind}")
        return self


class AxisModel(Strict):
    """The conditions at the two faces of an axis."""

    low: FaceModel
    high: FaceModel

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, data: Any) -> Any:
        if isinstance(data, str) or (isinstance(data, dict) and not {"low", "high"} & set(data)):
            return {"low": data, "high": data}
        return data


class BoundaryModel(Strict):
    """The condition of each axis, `every` for those that are not named."""

    every: AxisModel | None = None
    x: AxisModel | None = None
    y: AxisModel | None = None
    z: AxisModel | None = None

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, data: Any) -> Any:
        if isinstance(data, str) or (isinstance(data, dict) and set(data) & {"kind", "low", "high"}):
            return {"every": data}
        return data


class SteadyModel(Strict):
    """How the steady state is found."""

    method: Annotated[str, choice(*METHODS)] = "auto"
    tolerance: Annotated[float, quantity(1e-15, 0.1)] = 1e-10
    most_sweeps: Annotated[int, whole(1, 10_000_000)] = 100_000


class TimeModel(Strict):
    """How long a run is and when it is recorded."""

    length_h: Annotated[float, quantity("0 h", "100 yr", unit="h", above=True)] = Field(alias="length")
    every_h: Annotated[float, quantity("0 h", "100 yr", unit="h", above=True)] | None = Field(alias="every", default=None)
    times_h: list[Annotated[float, TIME]] | None = Field(alias="times", default=None, min_length=1, max_length=10_000)
    step_h: Annotated[float, quantity("0 h", "100 yr", unit="h", above=True)] | None = Field(alias="step", default=None)


class RecordModel(Strict):
    """What is written."""

    concentration: Annotated[bool, flag()] | None = None
    probes: list[VoxelModel] = Field(default=[], max_length=1000)


class FieldsModel(SubModel):
    """One field on a lattice."""

    voxels: VoxelModel | None = None
    size_um: SizeModel | None = Field(alias="size", default=None)
    voxel_um: Annotated[float, quantity("0.001 um", "10 mm", unit="um")] = Field(alias="voxel")
    depth_um: Annotated[float, quantity("0 um", "10 mm", unit="um", above=True)] = Field(alias="depth", default=20.0)
    boundary: BoundaryModel = BoundaryModel()
    diffusion_um2_h: Annotated[float, quantity("0 um**2/h", "1e12 um**2/h", unit="um**2/h")] = Field(alias="diffusion")
    decay_h: Annotated[float, RATE] = Field(alias="decay", default=0.0)
    parameters: dict[str, Annotated[float, read_number()]] = Field(default={}, max_length=100)
    sources: list[SourceModel] = Field(default=[], max_length=5000)
    uptake: list[UptakeModel] = Field(default=[], max_length=5000)
    walls: list[PlaceModel] = Field(default=[], max_length=5000)
    wall_permeability: Annotated[float, quantity(0.0, 1.0)] = 0.0
    initial: InitialModel = Field(default_factory=lambda: InitialModel.model_validate({"value": "0 nmol/L"}))
    releases: list[ReleaseModel] = Field(default=[], max_length=5000)
    steady: SteadyModel | None = None
    time: TimeModel | None = None
    record: RecordModel = RecordModel()

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along x, y, z, as many as there are axes."""
        if self.voxels is not None:
            return tuple(n for n in (self.voxels.x, self.voxels.y, self.voxels.z) if n is not None)
        size = self.size_um
        assert size is not None
        return tuple(round(s / self.voxel_um) for s in (size.x, size.y, size.z) if s is not None)

    def list_boundary(self) -> list[AxisModel]:
        """Return the conditions along x, y, z, as many as there are axes."""
        closed = AxisModel.model_validate("no_flux")
        named = (self.boundary.x, self.boundary.y, self.boundary.z)
        return [own or self.boundary.every or closed for own in named[: len(self.shape)]]

    def list_places(self) -> Iterator[tuple[tuple[str, int], PlaceModel]]:
        """Yield every place with its path."""
        for key in ("sources", "uptake", "walls", "releases"):
            for i, place in enumerate(getattr(self, key)):
                yield (key, i), place

    def list_formulas(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Yield every formula with its path."""
        for where, place in self.list_places():
            if getattr(place, "formula", None) is not None:
                yield (*where, "formula"), place.formula  # type: ignore[attr-defined]
        if self.initial.formula is not None:
            yield ("initial", "formula"), self.initial.formula
        for name in (*AXES, "every"):
            axis = getattr(self.boundary, name)
            for side in ("low", "high") if axis is not None else ():
                if getattr(axis, side).formula is not None:
                    yield ("boundary", name, side, "formula"), getattr(axis, side).formula

    def list_inputs(self) -> list[str]:
        """Return the names of the files that are read."""
        places = [place for _, place in self.list_places()]
        names = [getattr(owner, key, None) for owner in (*places, self.initial) for key in ("mask", "values")]
        return sorted({name for name in names if name is not None})
