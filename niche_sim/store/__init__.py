"""The results folder: written whole or not at all, read only if it is what was written.

Layout of a result: `manifest.json`, `resolved.yaml`, `series.parquet`, `events.parquet`, `bmus.parquet`, `cells.parquet`,
`ledgers.parquet`, `fields.zarr`, `maps.zarr`, `final_state.zarr`. The manifest holds the SHA-256 of every other file, so a
flipped bit, a cut or a lost file is named before anything is decoded. Figures and the report are drawn from
these files and can be drawn again; they are not part of the checksums.
"""

from niche_sim.store.folder import Reservation, check_target, replace_file, reserve
from niche_sim.store.reading import Problem, Result, hash_result, load, verify
from niche_sim.store.writing import hash_run, write_result, write_yaml

__all__ = [
    "Problem", "Reservation", "Result", "check_target", "hash_result", "hash_run", "load", "replace_file", "reserve",
    "verify", "write_result", "write_yaml",
]  # fmt: skip
