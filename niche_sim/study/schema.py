"""The shape of study files, and its JSON Schema."""

from typing import Annotated, Any

from pydantic import Field

from niche_sim.config.quantity import choice, flag, text, whole
from niche_sim.config.schema import MOST_SEED, Name, Note, Strict, Title
from niche_sim.study.spec import DISTRIBUTIONS, KINDS, TAKES

FACTOR_NAME = r"[A-Za-z_][A-Za-z0-9_]{0,63}(\.[A-Za-z0-9_]{1,64}){0,3}"

Label = Annotated[str, text(FACTOR_NAME, "a name of letters, digits and _, perhaps with points", 200)]


class DesignModel(Strict):
    """How points are laid out."""

    kind: Annotated[str, choice(*KINDS)]
    points: Annotated[int, whole(1, 10**15)] | None = Field(
        default=None, description="Trajectories (morris), base sample (saltelli), points (others)."
    )
    seed: Annotated[int, whole(0, MOST_SEED)] = 0
    levels: Annotated[int, whole(2, 100)] = Field(default=4, description="Levels of a Morris trajectory, an even number.")
    second_order: Annotated[bool, flag()] = Field(default=False, description="Points for indices of pairs (saltelli).")
    table: Annotated[str, text(r"[^\n]*\.(csv|parquet)", "a .csv or .parquet file", 1000)] | None = None


class FactorModel(Strict):
    """What differs between points; empty, a parameter over its own range."""

    at: Any = Field(default=None, description="Place or places that it moves; the name of the factor if left out.")
    distribution: Annotated[str, choice(*DISTRIBUTIONS)] | None = None
    range: list[Any] | None = Field(default=None, min_length=2, max_length=2)
    values: list[Any] | None = Field(default=None, min_length=1, max_length=1000)
    levels: Annotated[int, whole(2, 10_000)] | None = Field(default=None, description="Values of a range in a grid.")
    round: Any = Field(default=None, description="Values are multiples of this.")
    mean: Any = None
    sd: Any = None
    median: Any = None
    cv: Any = None
    mode: Any = None


class EndpointModel(Strict):
    """A column of the table of results."""

    column: Annotated[
        str, text(r"[A-Za-z][A-Za-z0-9_]*( *\+ *[A-Za-z][A-Za-z0-9_]*)*", "a column of the series, or a sum of some", 1000)
    ]
    take: Annotated[
        str, text(r"[a-z0-9_]+(\([^()\n]{1,40}\))?", f"one of {', '.join(TAKES)}; the last two as first_above(10)", 100)
    ] = "end"


class StudyModel(Strict):
    """A study: one experiment at many points."""

    name: Name
    title: Title = ""
    note: Note = ""
    experiment: Any
    set: dict[str, Any] = Field(default={}, description="What differs from the experiment at every point, as --set has it.")
    arms: list[str] | None = Field(default=None, min_length=1, max_length=100)
    design: DesignModel
    factors: dict[Label, FactorModel] = Field(min_length=1, max_length=1000)
    replicates: Annotated[int, whole(1, 100_000)] = 1
    constraints: list[str] = Field(default=[], max_length=100)
    endpoints: dict[Label, EndpointModel] = Field(default={}, max_length=200)


def study_schema() -> dict[str, Any]:
    """Return the JSON Schema (Draft 2020-12) of study files, for editors."""
    from niche_sim.config.gate import experiment_schema
    from niche_sim.config.library import list_experiments

    schema = StudyModel.model_json_schema(by_alias=True)
    experiment = {key: value for key, value in experiment_schema().items() if key != "$schema"}
    definitions = schema["$defs"] | experiment.pop("$defs") | {"ExperimentModel": experiment}
    named = {"anyOf": [{"enum": list_experiments()}, {"type": "string"}, {"$ref": "#/$defs/ExperimentModel"}]}
    schema["properties"]["experiment"] = named
    quantity = {"type": ["number", "string"]}
    factor = definitions["FactorModel"]["properties"]
    factor["at"] = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
    for key in ("round", "mean", "sd", "median", "cv", "mode"):
        factor[key] = quantity
    factor["range"] = {"type": "array", "items": quantity, "minItems": 2, "maxItems": 2}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "niche_sim study"}
    return head | {key: value for key, value in schema.items() if key != "title"} | {"$defs": definitions}
