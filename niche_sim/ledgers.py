"""Ledgers: what came in, what went out, what is there. The signed amounts of an item add up to nothing.

| ledger | item | entries | closes |
|---|---|---|---|
| field | each diffusing factor | secreted, released from bone, decayed, taken up (fmol/h) | to rounding |
| drug | each drug | dosed, unabsorbed, absorbing, plasma, tissues, surfaces, buried, swallowed, excreted (fmol) | 1e-9 |
| mineral | bone | at the start, formed, removed, present (millionths of a voxel) | exactly |
| cells | dtc | seeded, born, arrived, died, left to blood, living | exactly |
| cells | bmu | started, completed, aborted, without osteoclast, active (from the beginning of the spin-up) | exactly |

The ledger of a drug is the niche's share of the body's: its bone surface at time 0 over that of the skeleton. Surfaces are
resting, eroding and forming ones. Plasma, tissues and urine hold what doses left there and what came back from bone. No
factor crosses a boundary: closed ones let nothing through, periodic ones lead back in.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from niche_sim.drugs import Drug
from niche_sim.kinds import (
    DTC,
    FIELD_NAMES,
    FORMING,
    FREE,
    IGF1,
    MINERAL_FORMED,
    MINERAL_REMOVED,
    MINERAL_START,
    N_ARRIVALS,
    N_BIRTHS,
    N_BMU_ABORTED,
    N_BMU_COMPLETED,
    N_BMU_STARTED,
    N_BMU_UNUSED,
    N_DEATHS_FIRST,
    N_EGRESS,
    N_SEEDED,
    N_WAKES_FIRST,
    TGF_BETA,
)
from niche_sim.lattice import World
from niche_sim.pharmacokinetics import pharmacokinetics
from niche_sim.state import State

_PER_VOXEL = 1e-9  # fmol in 1 um3 at 1 nmol/L
_DEATHS = slice(N_DEATHS_FIRST, N_WAKES_FIRST)


def balance_field(state: State, transport: Any, world: World, field: int) -> dict[str, float]:
    """Return the ledger of one field at its steady state, fmol/h."""
    fields = state.fields
    concentration, scale = fields.concentration[field], _PER_VOXEL * world.volume_um3
    released = 0.0
    if field in (TGF_BETA, IGF1):
        released = float(state.release[0 if field == TGF_BETA else 1, state.voxels.is_bone == 0].sum())
    return {
        "secreted": float(fields.secretion[field].sum()) * scale - released, "released": released,
        "decayed": -float(transport.decay[field] * concentration.sum()) * scale,
        "taken_up": -float(fields.uptake[field] @ concentration) * scale,
    }  # fmt: skip


def share_of_doses(
    drugs: Mapping[str, Drug], doses: Sequence[Any], times_h: Sequence[float], share: float
) -> list[dict[str, dict[str, float]]]:
    """Return what doses left in the body at each time, by drug and place.

    `share` is fmol in the niche per nmol in the body. What has reached bone is left out: the niche knows it.
    """
    rows: list[dict[str, dict[str, float]]] = [{} for _ in times_h]
    for name, drug in drugs.items():
        if not drug.has_kinetics or not len(times_h):
            continue
        found = pharmacokinetics(drug, doses, np.asarray(times_h))
        for i, row in enumerate(rows):
            row[name] = {
                "dosed": share * found["dosed"][i], "unabsorbed": share * found["unabsorbed"][i],
                "absorbing": share * found["absorbing"][i], "plasma": share * found["plasma"][i],
                "tissues": share * found["peripheral"][i].sum(), "excreted": share * found["excreted"][i],
            }  # fmt: skip
    return rows


def balance_drug(state: State, drug: int, doses: Mapping[str, float]) -> dict[str, float]:
    """Return the ledger of one drug, fmol; `doses` is what doses left in the body, as `share_of_doses` gives it."""
    _, swallowed, excreted, pool = (float(amount) for amount in state.drug_ledger[drug])
    voxels = state.voxels
    exposed, held = voxels.exposed > 0, voxels.owner >= 0
    forming = held & (state.bmus.phase[np.maximum(voxels.owner, 0)] == FORMING)
    on = {"resting": exposed & ~held, "eroding": exposed & held & ~forming, "forming": exposed & forming, "buried": ~exposed}
    bound = {name: float(state.drug[drug, where].sum()) for name, where in on.items()}
    plasma, tissues = float(state.body[drug, 0]), float(state.body[drug, 1:].sum())
    return {
        "dosed": doses["dosed"], "unabsorbed": -doses["unabsorbed"], "absorbing": -doses["absorbing"],
        "plasma": -doses["plasma"] - plasma, "tissues": -doses["tissues"] - tissues,
        "on_resting_surface": -bound["resting"], "on_eroding_surface": -bound["eroding"],
        "on_forming_surface": -bound["forming"], "buried": -bound["buried"], "swallowed": -swallowed,
        "excreted": -doses["excreted"] - excreted, "about_to_bind": -pool,
    }  # fmt: skip


def balance_mineral(state: State) -> dict[str, float]:
    """Return the ledger of mineral, millionths of a voxel."""
    tally = state.tally
    return {
        "at_start": float(tally[MINERAL_START]), "formed": float(tally[MINERAL_FORMED]),
        "removed": -float(tally[MINERAL_REMOVED]), "present": -float(state.voxels.mineral.sum(dtype=np.int64)),
    }  # fmt: skip


def balance_tumour(state: State) -> dict[str, float]:
    """Return the ledger of tumour cells."""
    tally, n = state.tally, state.living[0]
    return {
        "seeded": float(tally[N_SEEDED]), "born": float(tally[N_BIRTHS]), "arrived": float(tally[N_ARRIVALS]),
        "died": -float(tally[_DEATHS].sum()), "left": -float(tally[N_EGRESS]),
        "living": -float((state.cells.kind[:n] == DTC).sum()),
    }  # fmt: skip


def balance_bmus(state: State) -> dict[str, float]:
    """Return the ledger of BMUs."""
    tally = state.tally
    return {
        "started": float(tally[N_BMU_STARTED]), "completed": -float(tally[N_BMU_COMPLETED]),
        "aborted": -float(tally[N_BMU_ABORTED]), "no_osteoclast": -float(tally[N_BMU_UNUSED]),
        "active": -float((state.bmus.phase != FREE).sum()),
    }  # fmt: skip


def list_ledgers(
    state: State, rates: Any, world: World, drugs: Sequence[str], doses: Mapping[str, Mapping[str, float]]
) -> list[dict[str, Any]]:
    """Return every entry of every ledger as a row: ledger, item, entry, amount, unit.

    Parameters
    ----------
    state : State
    rates : schedule.Rates
        Of the tick that has just been run; without diffusion or secretion no field has a ledger.
    world : World
    drugs : sequence of str
        Names, in the order of the state's columns.
    doses : mapping of name to what doses left in the body
        A row of `share_of_doses`; a drug that is not followed, or not given while dosing is off, has no ledger.
    """
    found: list[tuple[str, str, str, Mapping[str, float]]] = []
    if rates.switches.diffusion and rates.switches.secretion:
        found += [
            ("field", name, "fmol/h", balance_field(state, rates.diffusion, world, f)) for f, name in enumerate(FIELD_NAMES)
        ]
    if rates.switches.dosing:
        found += [
            ("drug", name, "fmol", balance_drug(state, d, doses[name])) for d, name in enumerate(drugs) if name in doses
        ]
    found += [
        ("mineral", "bone", "1e-6 voxel", balance_mineral(state)), ("cells", "dtc", "cells", balance_tumour(state)),
        ("cells", "bmu", "BMUs", balance_bmus(state)),
    ]  # fmt: skip
    return [
        {"ledger": ledger, "item": item, "entry": entry, "amount": amount, "unit": unit}
        for ledger, item, unit, entries in found
        for entry, amount in entries.items()
    ]
