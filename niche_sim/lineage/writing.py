"""A lineage as a file: CSV with a row a cell, or Newick."""

from collections import deque
from collections.abc import Sequence
from pathlib import PurePath

import pandas as pd

from niche_sim.errors import InputError
from niche_sim.lineage.following import Lineage

COLUMNS = (
    "arm", "ident", "parent", "clone", "origin", "born_h", "born_place", "generation", "divisions", "fate", "fate_h",
    "fate_place", "cause",
)  # fmt: skip


def write_table(lineage: Lineage) -> pd.DataFrame:
    """Return the cells of a lineage with the columns of the CSV; times in hours."""
    return lineage.cells.reset_index().assign(arm=lineage.arm)[list(COLUMNS)]


def write_newick(lineage: Lineage) -> str:
    """Return a lineage as Newick trees, one a line, branch lengths in days.

    Every division is a node: on one side the mother goes on, on the other her daughter begins. A leaf is a cell at its fate.
    """
    cells = lineage.cells
    parts = {ident: deque([str(ident)]) for ident in cells.index}
    until = dict(cells["fate_h"])
    trees = []
    for ident, parent, born_h in zip(cells.index[::-1], cells["parent"][::-1], cells["born_h"][::-1]):
        own = parts.pop(ident)
        own.append(f":{(until[ident] - born_h) / 24.0:.10g}")
        mother = parts.get(parent)
        if mother is None:
            trees.append("".join(own) + ";")
            continue
        mother.appendleft("(")
        mother.append(f":{(until[parent] - born_h) / 24.0:.10g},")
        mother.extend(own)
        mother.append(")")
        until[parent] = born_h
    return "\n".join(trees[::-1])


def encode_lineages(lineages: Sequence[Lineage], name: str) -> bytes:
    """Return lineages as the bytes of a file, its format by the suffix of `name`: .csv, .nwk or .newick.

    Raises
    ------
    InputError
        Another suffix.
    """
    suffix = PurePath(name).suffix.lower()
    if suffix == ".csv":
        return pd.concat([write_table(lineage) for lineage in lineages]).to_csv(index=False, lineterminator="\n").encode()
    if suffix in (".nwk", ".newick"):
        return "".join(write_newick(lineage) + "\n" for lineage in lineages if len(lineage.cells)).encode()
    raise InputError(f"{name}: the suffix tells the format: .csv, .nwk or .newick")
