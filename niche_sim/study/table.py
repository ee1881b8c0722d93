"""Designs that are tables: CSV or Parquet, a column a factor and a row a point."""

import csv
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from niche_sim.config.problems import ConfigError, Problem, suggest
from niche_sim.errors import InputError
from niche_sim.study.spec import Factor
from niche_sim.study.values import Value, express_value, number_word, read_text, write_text
from niche_sim.units import quote, split

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 1_000_000
MOST_BYTES = 500_000_000
_MOST_SHOWN = 20


def read_columns(file: Path, shown: str, names: Sequence[str]) -> dict[str, list[str]]:
    """Return the texts of the columns of a table that are factors; `point` and ``NAME.value`` are left out.

    Raises
    ------
    ConfigError
        The file cannot be read, a column is missing or unknown, or a cell is empty.
    """
    frame = read_frame(file, shown)
    problems = []
    for name in names:
        if name not in frame.columns:
            problems.append(Problem(shown, 1, None, name, "missing", "missing: each factor needs a column of its name"))
    extra = {"point", *(f"{name}.value" for name in names)}
    for column in frame.columns:
        if column not in names and column not in extra:
            message = f"no factor has the name of this column{suggest(column, names)}"
            problems.append(Problem(shown, 1, None, str(column), "unknown", message))
    if not 0 < len(frame) <= MOST_ROWS:
        problems.append(Problem(shown, None, None, "", "size", f"has {len(frame):,} rows; expected 1 to {MOST_ROWS:,}"))
    columns = {}
    for name in [name for name in names if name in frame.columns]:
        texts = [write_text(cell).strip() for cell in frame[name].tolist()]
        empty = [row for row, text in enumerate(texts) if text in ("", "None", "nan", "<NA>")]
        problems += [place_row(shown, row, name, "missing", "the cell is empty") for row in empty[:_MOST_SHOWN]]
        columns[name] = texts
    if problems:
        raise ConfigError(problems)
    return columns


def read_frame(file: Path, shown: str) -> "pd.DataFrame":
    """Return the cells of a table as they are.

    Raises
    ------
    ConfigError
        The file cannot be read, or is no table.
    """
    try:
        if not file.exists():
            raise InputError("cannot be read: no such file")
        if not file.is_file():  # a pipe would block for ever
            raise InputError("is not a regular file")
        if file.stat().st_size > MOST_BYTES:
            raise InputError(f"is larger than {MOST_BYTES // 1_000_000} MB")
        return _read_parquet(file) if file.suffix == ".parquet" else _read_csv(file, shown)
    except ConfigError:
        raise
    except InputError as error:
        message = str(error)
    except OSError as error:
        message = f"cannot be read: {(error.strerror or 'not a file').lower()}"
    raise ConfigError([Problem(shown, None, None, "", "file", message)])


def _read_parquet(file: Path) -> "pd.DataFrame":
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(pa.BufferReader(file.read_bytes()), use_threads=False).to_pandas(use_threads=False)
    except (pa.ArrowException, ValueError, TypeError):
        raise InputError("is no Parquet file, or a damaged one") from None


def _read_csv(file: Path, shown: str) -> "pd.DataFrame":
    """Return the cells of a CSV file as texts; by hand, because pandas shifts the columns of a row that is too long."""
    import pandas as pd

    try:
        text = file.read_text(encoding="utf-8-sig")
        rows = list(csv.reader(text.replace("\r\n", "\n").split("\n"), skipinitialspace=True, strict=True))
    except UnicodeDecodeError:
        raise InputError("is not UTF-8; save the file as CSV in UTF-8") from None
    except csv.Error as error:
        raise InputError(f"is no CSV file: {error}") from None
    if "\0" in text:
        raise InputError("is no CSV file: it holds a character of no text")
    while rows and not any(rows[-1]):
        rows.pop()
    if not rows:
        raise InputError("is empty; expected a line with the names of the factors, then a line a point")
    names = [name.strip() for name in rows[0]]
    problems = [
        Problem(shown, 1, None, name, "duplicate", "there are two columns of this name")
        for name in dict.fromkeys(names) if names.count(name) > 1
    ]  # fmt: skip
    for line, row in enumerate(rows[1:], 2):
        if row and len(row) != len(names):
            problems.append(Problem(shown, line, None, "", "size", f"has {len(row)} cells; the first line has {len(names)}"))
    if len(names) == 1 and ";" in names[0]:
        problems = [Problem(shown, 1, None, "", "syntax", "expected commas between cells, not semicolons")]
    if problems:
        raise ConfigError(problems[:_MOST_SHOWN])
    return pd.DataFrame([row or [""] * len(names) for row in rows[1:]], columns=names, dtype=object)


def place_row(file: str, row: int, columns: str, code: str, message: str) -> Problem:
    """Return a mistake in a row of a table, counted from 0: by its line in a CSV file, else by its number."""
    if file.endswith(".csv"):
        return Problem(file, row + 2, None, columns, code, message)
    return Problem(file, None, None, f"row {row} of {Path(file).name} (counted from 0), {columns}", code, message)


def hash_columns(columns: dict[str, list[str]]) -> str:
    """Return the SHA-256 of the texts of columns, whatever file they came from."""
    digest = hashlib.sha256()
    for name in sorted(columns):
        digest.update(json.dumps([name, columns[name]]).encode())
    return digest.hexdigest()


def describe_column(name: str, places: tuple[str, ...], texts: list[str], shown: str) -> Factor:
    """Return the factor of a column: numbers of one dimension in the unit of the first, else words.

    Raises
    ------
    ConfigError
        A cell is not of the dimension of the first, or there are more than 1000 words.
    """
    first = read_text(texts[0])
    try:
        unit = split(first)[1] if isinstance(first, str) else ""
        if isinstance(first, bool):
            raise InputError("words")
        express_value(first, unit)
    except InputError:
        words = tuple(dict.fromkeys(read_text(text) for text in texts))
        if len(words) <= 1000:
            return Factor(name, places, "choice", values=words)
        message = f"{quote(texts[0])} is not a number with a unit, and there are more than 1000 different cells"
        raise ConfigError([place_row(shown, 0, name, "value", message)]) from None
    numbers, problems = [], []
    for row, text in enumerate(texts):
        try:
            numbers.append(express_value(read_text(text), unit))
        except InputError as error:
            problems.append(place_row(shown, row, name, "unit", str(error)))
    if problems:
        raise ConfigError(problems[:_MOST_SHOWN])
    return Factor(name, places, "uniform", min(numbers), max(numbers), unit)


def read_table(file: str, factors: Sequence[Factor]) -> dict[str, list[Value]]:
    """Return the values of every factor, row by row."""
    columns = read_columns(Path(file), file, [factor.name for factor in factors])
    return {factor.name: [_read_cell(factor, text) for text in columns[factor.name]] for factor in factors}


def _read_cell(factor: Factor, text: str) -> Value:
    value: Any = read_text(text)
    if factor.distribution == "choice":
        return text, number_word(factor, factor.values.index(value))
    return text, express_value(value, factor.unit)
