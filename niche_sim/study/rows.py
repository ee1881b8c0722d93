"""What is wrong with the rows of a table, all at once: empty cells, cells of another dimension, rows that are the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from niche_sim.config.problems import ConfigError, Problem
from niche_sim.errors import InputError
from niche_sim.study.spec import Factor
from niche_sim.study.table import describe_column, hash_columns, place_row, read_columns, read_frame
from niche_sim.study.values import express_value, read_text, write_text

MOST_TRIED = 200
"""Rows of a table that pass through the gate whenever its study is read."""
_MOST_SHOWN, _MOST_NAMED = 20, 6
_EMPTY = "the cell is empty"


@dataclass(frozen=True)
class Rows:
    """What a table holds: its factors, the hash of its cells, and of its first rows those without a mistake.

    `head` has a column `point`, the number of the row.
    """

    factors: tuple[Factor, ...]
    digest: str
    head: pd.DataFrame
    problems: list[Problem]


def read_rows(file: Path, shown: str, factors: Sequence[Factor]) -> Rows:
    """Return what a table holds, with the mistakes of its rows.

    Raises
    ------
    ConfigError
        The file cannot be read, its columns are not those of the factors, or one is empty or of too many words.
    """
    names, problems = [factor.name for factor in factors], list[Problem]()
    try:
        columns = read_columns(file, shown, names)
    except ConfigError as error:
        if any(problem.message != _EMPTY for problem in error.problems):
            raise
        problems, frame = error.problems, read_frame(file, shown)
        columns = {name: [write_text(cell).strip() for cell in frame[name].tolist()] for name in names}
    texts = pd.DataFrame(columns, dtype=object)
    sound = ~texts.isin(["", "None", "nan", "<NA>"])
    if not sound.any().all():
        raise ConfigError(problems)
    described = []
    for factor in factors:
        held = texts[factor.name].where(sound[factor.name], texts[factor.name][sound[factor.name].idxmax()]).tolist()
        try:
            described.append(describe_column(factor.name, factor.places, held, shown))
        except ConfigError as error:
            problems = [*problems, *error.problems]
            fits = {text: _fits(factor, held[0], text, shown) for text in dict.fromkeys(held)}
            if all(fits.values()):  # too many words
                raise ConfigError(problems) from None
            sound[factor.name] &= np.array([fits[text] for text in held])
            described.append(describe_column(factor.name, factor.places, [text for text in held if fits[text]], shown))
    problems = [*problems, *_find_same(texts[sound.all(axis=1)], described, shown)]
    head = texts.assign(point=range(len(texts))).head(MOST_TRIED)
    return Rows(tuple(described), hash_columns(columns), head[sound.head(MOST_TRIED).all(axis=1)], problems)


def _fits(factor: Factor, first: str, text: str, shown: str) -> bool:
    """Tell whether a cell is of the dimension of the first."""
    try:
        describe_column(factor.name, factor.places, [first, text], shown)
    except ConfigError:
        return False
    return True


def _find_same(texts: pd.DataFrame, factors: Sequence[Factor], shown: str) -> list[Problem]:
    """Return the rows that are another again, whatever units and digits they are written with."""
    codes = pd.DataFrame(index=texts.index)
    for factor in factors:
        numbers, words = pd.factorize(texts[factor.name])
        values = pd.Series([str(_evaluate(factor, word)) for word in words], dtype=object)
        codes[factor.name] = pd.factorize(values)[0][numbers]
    names = [factor.name for factor in factors]
    again = codes[codes.duplicated()]
    if again.empty:
        return []
    first: dict[tuple, int] = {}
    for row, key in zip(codes.index, codes.itertuples(index=False, name=None)):
        first.setdefault(key, row)
    told, place = ", ".join(names[:_MOST_NAMED]), "line" if shown.endswith(".csv") else "row"
    shift = 2 if place == "line" else 0
    problems = []
    for row, key in list(zip(again.index, again.itertuples(index=False, name=None)))[:_MOST_SHOWN]:
        message = f"{place}s {first[key] + shift} and {row + shift} are the same, and so would their runs be; leave one out"
        problems.append(place_row(shown, row, told, "duplicate", f"{message} (`replicates` is for more runs of a point)"))
    return problems


def _evaluate(factor: Factor, text: str) -> object:
    value = read_text(text)
    if factor.distribution == "choice":
        return value
    try:
        return express_value(value, factor.unit)
    except InputError:
        return value
