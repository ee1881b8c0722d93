"""Endpoints: which columns of the series a study may take, and what of them."""

import re

from niche_sim.config.problems import suggest
from niche_sim.errors import InputError
from niche_sim.kinds import COUNTER_NAMES, FIELD_NAMES, NICHE_NAMES, OUTCOME_NAMES, TERM_NAMES
from niche_sim.store.tables import unit_of
from niche_sim.study.spec import TAKES, Endpoint
from niche_sim.units import quote

WITH_ARGUMENT = ("first_above", "first_below")

_TAKE = re.compile(r"([a-z0-9_]+)(?:\(\s*([-+0-9.eE]+)\s*\))?")
_WAKES = [name for name in OUTCOME_NAMES if f"dtc_wakes_{name}" in COUNTER_NAMES]
_DEATHS = [name for name in OUTCOME_NAMES if f"dtc_deaths_{name}" in COUNTER_NAMES]

COLUMNS = (
    "dormant", "cycling", "cycling_arrived", "precursors", "osteoclasts", "osteoblasts", "macrophages",
    "bone_volume_fraction", "bone_surface_um2", "bone_surface_density_per_mm", "trabecular_thickness_um",
    "trabecular_separation_um", "trabecular_number_per_mm", "eroded_surface_fraction", "osteoclast_surface_fraction",
    "osteoid_surface_fraction", "bmu_active", "resorption_um3_per_d", "formation_um3_per_d", "activation_frequency_per_yr",
    "mineralising_surface_fraction", "mineral_apposition_um_per_d", "bone_formation_um_per_d", "suitability_mean",
    "suitability_endosteal", "suitability_perivascular",
    *(
        column
        for niche in NICHE_NAMES
        for column in (f"suitability_loss_{niche}", *(f"suitability_share_{term}_{niche}" for term in TERM_NAMES))
    ),
    "plasma_nmol_per_L", "drug_surface_fmol", "drug_buried_fmol", *(f"{name}_nmol_per_L" for name in FIELD_NAMES),
    *(name for name in COUNTER_NAMES if name.startswith(("dtc_", "osteoclast_", "bmu_"))),
    *(f"hazard_wake_{name}_per_d" for name in _WAKES), *(f"hazard_death_{name}_per_d" for name in _DEATHS),
    "growth_division_per_d", "growth_death_per_d", "dormant_cell_days", "bone_mineral_content_um3",
)  # fmt: skip
"""Columns of the series that hold numbers."""

_SINCE_LAST_ROW = ("_per_d", "_per_yr", "mineralising_surface_fraction", "dormant_cell_days")

_USUAL = (
    ("dormant_end", "dormant", "end"), ("cycling_end", "cycling", "end"), ("cycling_max", "cycling", "max"),
    ("escape_h", "cycling", "first_above(0)"), ("births", "dtc_births", "end"),
    ("bone_volume_fraction_end", "bone_volume_fraction", "end"), ("resorption_mean", "resorption_um3_per_d", "mean"),
    ("suitability_end", "suitability_endosteal", "end"), ("drug_surface_fmol_end", "drug_surface_fmol", "end"),
)  # fmt: skip


def usual_endpoints() -> tuple[Endpoint, ...]:
    """Return the endpoints of a study that names none."""
    return tuple(Endpoint(name, column, *read_take(take)) for name, column, take in sorted(_USUAL))


def find_unit(endpoint: Endpoint) -> str:
    """Return the unit of an endpoint: that of its column, hours for a time of first crossing."""
    if endpoint.take in WITH_ARGUMENT:
        return "h"
    unit = unit_of(split_column(endpoint.column)[0])
    return f"log10 of {unit}" if endpoint.take == "log10_mean" else unit


def read_take(text: str) -> tuple[str, float | None]:
    """Return what an endpoint takes and its argument.

    Raises
    ------
    InputError
        There is no such taking, its argument is missing, or it has one that it does not need.
    """
    match = _TAKE.fullmatch(text)
    name = match.group(1) if match else text.partition("(")[0]
    if name not in TAKES:
        raise InputError(f"{quote(text)} cannot be taken{suggest(name, TAKES)}")
    argument = match.group(2) if match else None
    if (argument is not None) != (name in WITH_ARGUMENT):
        expected = f"expected e.g. '{name}(10)'" if name in WITH_ARGUMENT else f"expected {name!r} alone"
        raise InputError(f"{expected}, not {quote(text)}")
    try:
        return name, None if argument is None else float(argument)
    except ValueError:
        raise InputError(f"{quote(argument)} is not a number") from None


def split_column(text: str) -> list[str]:
    """Return the columns of which an endpoint is the sum; most are of one."""
    return [name.strip() for name in text.split("+")]


def check_column(text: str) -> None:
    """Raise InputError if the series has no such column of numbers, or if columns of different units are added."""
    names = split_column(text)
    for name in names:
        if name not in COLUMNS:
            raise InputError(f"the series has no column {quote(name)}{suggest(name, COLUMNS)}")
    units = {unit_of(name) for name in names}
    if len(units) > 1:
        raise InputError(f"columns of different units cannot be added: {', '.join(sorted(units))}")


def is_brief(endpoint: Endpoint) -> bool:
    """Whether an endpoint needs the first and the last row of the series alone, whatever is between them.

    Rates are counted since the row before, so that the interval of the series belongs to what they mean.
    """
    rates = any(name.endswith(_SINCE_LAST_ROW) for name in split_column(endpoint.column))
    return endpoint.take in ("end", "start", "change") and not rates
