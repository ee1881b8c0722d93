"""Designs that are tables: CSV or Parquet, a column a factor and a row a point."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from niche_sim.config.problems import ConfigError, Problem, suggest
from niche_sim.errors import InputError
from niche_sim.study.spec import Factor
from niche_sim.study.values import Value, express_value, read_text, write_text
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
    frame = _read_frame(file, shown)
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
        problems += [Problem(shown, row + 2, None, name, "missing", "the cell is empty") for row in empty[:_MOST_SHOWN]]
        columns[name] = texts
    if problems:
        raise ConfigError(problems)
    return columns


def _read_frame(file: Path, shown: str) -> "pd.DataFrame":
    import pandas as pd

    try:
        if file.stat().st_size > MOST_BYTES:
            raise InputError(f"is larger than {MOST_BYTES // 1_000_000} MB")
        if file.suffix == ".parquet":
            return pd.read_parquet(file)
        return pd.read_csv(file, dtype=str, keep_default_na=False, skipinitialspace=True)
    except InputError as error:
        message = str(error)
    except OSError as error:
        message = f"cannot be read: {(error.strerror or 'not a file').lower()}"
    except Exception as error:  # pandas and Arrow have many of their own
        message = f"is no table: {quote(str(error))}"
    raise ConfigError([Problem(shown, None, None, "", "file", message)])


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
        raise ConfigError([Problem(shown, 2, None, name, "value", message)]) from None
    numbers, problems = [], []
    for row, text in enumerate(texts):
        try:
            numbers.append(express_value(read_text(text), unit))
        except InputError as error:
            problems.append(Problem(shown, row + 2, None, name, "unit", str(error)))
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
        return text, float(factor.values.index(value))
    return text, express_value(value, factor.unit)
