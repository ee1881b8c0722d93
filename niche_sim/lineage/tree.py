"""The table of all tumour cells that ever lived in one arm, made from its events."""

import numpy as np
import pandas as pd

from niche_sim.errors import InputError

ORIGINS = {"seed": "seeded", "arrival": "arrived", "birth": "born"}
ENDS = {"death": "died", "egress": "left"}
MODES = {"sleep": "dormant", "wake": "cycling"}
NEEDED = ("event", "cause", "kind", "ident", "parent", "clone", "place")


def select_tumour(events: pd.DataFrame) -> pd.DataFrame:
    """Return the events of tumour cells in their order.

    Raises
    ------
    InputError
        The events were not recorded, or by a version that knew no places.
    """
    if "event" not in events:
        raise InputError("no events were recorded; run with `record: {events: true}`")
    missing = [name for name in NEEDED if name not in events]
    if missing:
        raise InputError(f"its events have no column {missing[0]!r}: written by an older version; run it again")
    return events[events["kind"] == "dtc"].reset_index(drop=True)


def _count_generations(parents: pd.Series) -> list[int]:
    """Return how many births lie between each cell and its founder; parents come before daughters."""
    found: dict[int, int] = {}
    for ident, parent in parents.items():
        found[int(str(ident))] = found.get(int(parent), -1) + 1
    return list(found.values())


def _add_up(parents: pd.Series, own: np.ndarray) -> list[int]:
    """Return the sum of `own` over each cell and all that descend from it."""
    total = dict(zip(parents.index, (int(value) for value in own)))
    for ident, parent in zip(parents.index[::-1], parents.to_numpy()[::-1]):
        if parent in total:
            total[parent] += total[ident]
    return list(total.values())


def _find_fates(cells: pd.DataFrame, tumour: pd.DataFrame, end_h: float) -> pd.DataFrame:
    """Return fate, its time, place and cause of each cell; those alive at the end are dormant or cycling."""
    ends = tumour[tumour["event"].isin(list(ENDS))].set_index("ident").reindex(cells.index)
    modes = tumour[tumour["event"].isin(list(MODES))].drop_duplicates("ident", keep="last").set_index("ident")["event"]
    start = np.where(cells["asleep"], "dormant", "cycling")
    alive = modes.map(MODES).reindex(cells.index).fillna(pd.Series(start, cells.index))
    return pd.DataFrame({
        "fate": ends["event"].map(ENDS).fillna(alive), "fate_h": ends["time_h"].fillna(end_h),
        "fate_place": ends["place"].fillna(""), "cause": ends["cause"].fillna(""),
    })  # fmt: skip


def list_tumour_cells(tumour: pd.DataFrame, end_h: float) -> pd.DataFrame:
    """Return one row a tumour cell that ever lived, founders first, daughters after their mothers.

    Parameters
    ----------
    tumour : DataFrame
        Events of one arm, as `select_tumour` returns them.
    end_h : float
        End of the run, h.

    Returns
    -------
    DataFrame
        Indexed by identity. `generation` is 0 for a founder; `fate` is died, left (to blood), or dormant or cycling at the
        end; `branch` counts the cell and all that descend from it, `branch_alive` those of them alive at the end.
    """
    begun = tumour[tumour["event"].isin(list(ORIGINS))].set_index("ident")
    cells = pd.DataFrame({
        "parent": begun["parent"], "clone": begun["clone"], "origin": begun["event"].map(ORIGINS),
        "born_h": begun["time_h"], "born_place": begun["place"], "asleep": begun["cause"] == "dormant",
    })  # fmt: skip
    births = tumour.loc[tumour["event"] == "birth", "parent"].value_counts()
    cells["generation"] = _count_generations(cells["parent"])
    cells["divisions"] = births.reindex(cells.index).fillna(0).astype("i8")
    cells = cells.join(_find_fates(cells, tumour, end_h))
    cells["branch"] = _add_up(cells["parent"], np.ones(len(cells)))
    cells["branch_alive"] = _add_up(cells["parent"], is_alive(cells).to_numpy())
    return cells


def is_alive(cells: pd.DataFrame) -> pd.Series:
    """Tell of each cell whether it lives at the end."""
    return cells["fate"].isin(["dormant", "cycling"])


def list_branch(cells: pd.DataFrame, ident: int) -> list[int]:
    """Return a cell and all that descend from it, in order of birth."""
    found = {ident}
    for daughter, parent in zip(cells.index, cells["parent"]):
        if parent in found:
            found.add(daughter)
    return [cell for cell in cells.index if cell in found]
