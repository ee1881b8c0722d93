"""Choosing whom to follow: a cell, a clone, or one of the largest lesions of an arm."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from niche_sim.errors import InputError
from niche_sim.lineage.tree import is_alive, list_branch, list_tumour_cells, select_tumour


@dataclass(frozen=True)
class Lineage:
    """The cells that were followed in one arm, and what happened to them.

    Attributes
    ----------
    arm : str
    end_h : float
        End of the run, h.
    cells : DataFrame
        One row a cell, indexed by identity: parent, clone, origin, birth, generation, divisions, fate, cause.
    events : DataFrame
        The events of these cells, with the place of each, and TGF-beta (nmol/L) and suitability there.
    first : int or None
        The cell that was asked for, or the founder of the clone; None for a whole arm.
    line : tuple of int
        Its mother, her mother, and so on to the founder.
    """

    arm: str
    end_h: float
    cells: pd.DataFrame
    events: pd.DataFrame
    first: int | None = None
    line: tuple[int, ...] = ()

    def __str__(self) -> str:
        from niche_sim.lineage.telling import tell

        return "\n".join(tell(self))

    def newick(self) -> str:
        """Return the lineage as Newick trees, one a line, branch lengths in days; a mother goes on beside her daughter."""
        from niche_sim.lineage.writing import write_newick

        return write_newick(self)


def follow(
    run: Any, arm: str, *, cell: int | None = None, clone: int | None = None, lesion: int | None = None
) -> Lineage:
    """Return the lineage of a cell, of a clone, of the n-th largest lesion, or of a whole arm.

    Parameters
    ----------
    run : Run or Result
        As `Simulation.run`, `run_experiment` or `load` return it.
    arm : str
    cell, clone, lesion : int, optional
        One of them. Lesions are numbered by their living cells at the end, the largest is 1.

    Returns
    -------
    Lineage
        Printed, it tells the life of the cell or of the clone's founder in sentences.

    Raises
    ------
    InputError
        There is no such arm, cell, clone or lesion, or events were not recorded.
    """
    if sum(choice is not None for choice in (cell, clone, lesion)) > 1:
        raise InputError("cell, clone and lesion exclude each other: give one of them")
    whole = _read_arm(run, arm)
    if lesion is not None:
        clone = _pick_lesion(_rank(whole), lesion, arm)
    if cell is not None:
        return _narrow(whole, cell)
    return whole if clone is None else _narrow(whole, _find_founder(whole, clone))


def list_lesions(run: Any, arm: str) -> pd.DataFrame:
    """Return the clones of an arm that live at the end, the largest first.

    Parameters
    ----------
    run : Run or Result
    arm : str

    Returns
    -------
    DataFrame
        Indexed by the number of the lesion, from 1: clone, founder, cells (cycling, dormant) at the end, cells ever, origin
        and begin of the founder, and the waking before its first division: when, by what route, where.

    Raises
    ------
    InputError
        There is no such arm, or events were not recorded.
    """
    return _rank(_read_arm(run, arm))


def _read_arm(run: Any, arm: str) -> Lineage:
    if arm not in run.arms:
        raise InputError(f"no arm {arm!r}; there is {', '.join(run.arms)}")
    events = run.events
    tumour = select_tumour(events[events["arm"] == arm] if "arm" in events else events)
    return Lineage(arm, run.length_h, list_tumour_cells(tumour, run.length_h), tumour)


def _find_founder(whole: Lineage, clone: int) -> int:
    cells = whole.cells
    found = cells.index[(cells["clone"] == clone) & (cells["generation"] == 0)]
    if not len(found):
        raise InputError(f"no clone {clone} ever lived in arm {whole.arm!r}; `niche-sim follow DIR` lists the largest")
    return int(found[0])


def _pick_lesion(ranked: pd.DataFrame, number: int, arm: str) -> int:
    if number not in ranked.index:
        there = f"it has {len(ranked)} living at the end" if len(ranked) else "no tumour cell lives at the end"
        raise InputError(f"no lesion {number} in arm {arm!r}: {there}")
    return int(ranked.loc[number, "clone"])


def _narrow(whole: Lineage, ident: int) -> Lineage:
    if ident not in whole.cells.index:
        raise InputError(f"no tumour cell {ident} ever lived in arm {whole.arm!r}")
    cells = whole.cells.loc[list_branch(whole.cells, ident)]
    events = whole.events[whole.events["ident"].isin(cells.index)].reset_index(drop=True)
    return Lineage(whole.arm, whole.end_h, cells, events, ident, _trace(whole.cells["parent"], ident))


def _trace(parents: pd.Series, ident: int) -> tuple[int, ...]:
    line: list[int] = []
    while (ident := int(parents[ident])) in parents.index:
        line.append(ident)
    return tuple(line)


def find_waking(events: pd.DataFrame, ident: int) -> pd.Series | None:
    """Return the last waking of a cell before its first division, or simply its last; None if it never woke."""
    wakes = events[(events["ident"] == ident) & (events["event"] == "wake")]
    births = events.loc[(events["parent"] == ident) & (events["event"] == "birth"), "time_h"]
    before = wakes[wakes["time_h"] <= births.min()] if len(births) else wakes
    return before.iloc[-1] if len(before) else None


def _rank(whole: Lineage) -> pd.DataFrame:
    cells = whole.cells
    ever = cells["clone"].value_counts()
    alive = cells[is_alive(cells)]
    counts = alive.groupby(["clone", "fate"]).size().unstack(fill_value=0)
    counts = counts.reindex(columns=["cycling", "dormant"], fill_value=0)
    founders = cells[cells["generation"] == 0].reset_index().set_index("clone")
    table = counts.assign(cells=counts.sum(axis=1), ever=ever.reindex(counts.index))
    table = table.join(founders[["ident", "origin", "born_h"]]).reset_index()
    table = table.sort_values(["cells", "ever", "clone"], ascending=[False, False, True])
    wakings = [find_waking(whole.events, ident) for ident in table["ident"]]
    table["woke_h"] = [float("nan") if wake is None else float(wake["time_h"]) for wake in wakings]
    table["route"] = ["" if wake is None else wake["cause"] for wake in wakings]
    table["place"] = ["" if wake is None else wake["place"] for wake in wakings]
    table.index = pd.RangeIndex(1, len(table) + 1, name="lesion")
    order = ["clone", "founder", "cells", "cycling", "dormant", "ever", "origin", "born_h", "woke_h", "route", "place"]
    return table.rename(columns={"ident": "founder"})[order]
