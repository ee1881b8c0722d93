"""Tables as Parquet with a unit on every column, and a digest of their values."""

import hashlib
import io
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from niche_sim.kinds import MARKER_UNITS

TABLES = ("series", "events", "bmus", "cells", "ledgers")

# A unit is read from the end of a column's name; the longest matching ending wins.
_ENDINGS = {
    "_h": "h", "_um": "um", "_um2": "um2", "_um3": "um3", "_um3_per_d": "um3/d", "_um_per_d": "um/d", "_per_mm": "1/mm",
    "_nmol_per_L": "nmol/L", "_fmol": "fmol", "_fmol_per_um2": "fmol/um2", "_per_yr": "1/yr", "_per_d": "1/d",
    "_fraction": "1", "_mg": "mg", "_relative": "1", "_share": "1",
}  # fmt: skip
_NAMED = {
    "arm": "name", "event": "name", "cause": "name", "kind": "name", "state": "name", "step": "tick", "outcome": "name",
    "ident": "identity", "parent": "identity", "clone": "identity", "z": "voxel", "y": "voxel", "x": "voxel",
    "ledger": "name", "item": "name", "entry": "name", "unit": "name", "amount": "as in column unit",
    "patient": "count", "tumour": "count", "site": "name", "origin": "name", "fate": "name", "route": "name",
    "dtc_density": "1/1e6 MNC", "established": "1", "polarisation": "1", "place": "name", "suitability": "1",
}  # fmt: skip


def unit_of(column: str) -> str:
    """Return the unit of a result column: a unit, `count` for whole numbers, `name` for words."""
    marker, _, kind = column.partition("_")
    if marker in MARKER_UNITS and kind in ("true", "measured"):
        return MARKER_UNITS[marker]
    if column in _NAMED:
        return _NAMED[column]
    if marker == "suitability":
        return "1"
    endings = [ending for ending in _ENDINGS if column.endswith(ending)]
    return _ENDINGS[max(endings, key=len)] if endings else "count"


def encode_table(frame: pd.DataFrame) -> bytes:
    """Return a Parquet file (zstd) of a data frame, with the unit of each column in the schema's metadata."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    fields = [field.with_metadata({"unit": unit_of(field.name)}) for field in table.schema]
    schema = pa.schema(fields, metadata=table.schema.metadata)
    buffer = io.BytesIO()
    pq.write_table(table.cast(schema), buffer, compression="zstd")
    return buffer.getvalue()


def decode_table(content: bytes) -> pd.DataFrame:
    """Return the data frame of a Parquet file; units are in `frame.attrs["units"]`.

    Raises
    ------
    pyarrow.ArrowException
        The bytes are no Parquet file.
    """
    table = pq.read_table(io.BytesIO(content))
    frame = table.to_pandas()
    metadata = {field.name: field.metadata or {} for field in table.schema}
    frame.attrs["units"] = {name: pairs.get(b"unit", b"").decode() for name, pairs in metadata.items()}
    return frame


def _column_bytes(column: pd.Series) -> tuple[str, bytes]:
    if not isinstance(column.dtype, np.dtype) or column.dtype == object:
        # Length before content: ("ab", "c") and ("a", "bc") must differ.
        texts = [("" if value is None else str(value)).encode() for value in column]
        return "text", b"".join(len(text).to_bytes(8, "little") + text for text in texts)
    return array_bytes(column.to_numpy())


def array_bytes(array: np.ndarray) -> tuple[str, bytes]:
    """Return type and little-endian bytes of an array; every NaN is the same NaN."""
    array = np.asarray(array)
    little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<")))
    if little.dtype.kind == "f" and np.isnan(little).any():
        little = np.where(np.isnan(little), np.array(np.nan, little.dtype), little)
    return little.dtype.str, little.tobytes()


def feed(digest: Any, *parts: bytes | str) -> None:
    """Add parts to a digest, each after its length."""
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(8, "little"))
        digest.update(raw)


def digest_table(frame: pd.DataFrame) -> bytes:
    """Return the SHA-256 of a table's values: columns by name, each with type and bytes, rows in order."""
    digest = hashlib.sha256()
    for name in sorted(frame.columns):
        feed(digest, str(name), *_column_bytes(frame[name]))
    return digest.digest()
