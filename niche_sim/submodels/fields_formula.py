"""Formulas of place and time in a configuration: numbers, names and a few functions, parsed and walked, never executed.

The functions are those of the C library, one value at a time: the vector functions of numpy differ in the last bit between
processors, and a table must not.
"""

import ast
import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from niche_sim.config.quantity import Reading, refuse
from niche_sim.errors import InputError
from niche_sim.units import quote

MOST_CHARACTERS = 500
MOST_DEPTH = 40
VARIABLES = ("x", "y", "z", "t", "pi", "L", "Lx", "Ly", "Lz", "dx", "D", "decay")
"""Names that every formula may use: place (um), time (h), size (um), voxel edge (um), um**2/h, 1/h."""

_LIBRARY: dict[str, Any] = {
    "sin": math.sin, "cos": math.cos, "tan": math.tan, "exp": math.exp, "log": math.log, "sqrt": math.sqrt,
    "sinh": math.sinh, "cosh": math.cosh, "tanh": math.tanh, "abs": abs,
}  # fmt: skip
FUNCTIONS: dict[str, Any] = {name: np.frompyfunc(function, 1, 1) for name, function in _LIBRARY.items()}
_POWER = np.frompyfunc(math.pow, 2, 1)
_OPERATIONS: dict[type[ast.AST], Any] = {
    ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.divide, ast.Pow: _POWER,
    ast.USub: np.negative, ast.UAdd: np.positive,
}  # fmt: skip


def parse(text: str) -> ast.expr:
    """Return the checked tree of a formula.

    Raises
    ------
    InputError
        It is too long or too deep, or holds anything but numbers, names, + - * / ** and the known functions.
    """
    text = text.strip()
    if len(text) > MOST_CHARACTERS:
        raise InputError(f"the formula has {len(text)} characters; at most {MOST_CHARACTERS}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(f"{quote(text)} is not a formula; write e.g. 'exp(-x / 50) * cos(2 * pi * y / Ly)'") from None
    _check(tree, text, 0)
    return tree


def _check(node: ast.AST, text: str, depth: int) -> None:
    if depth > MOST_DEPTH:
        raise InputError(f"the formula is nested more than {MOST_DEPTH} levels deep")
    if isinstance(node, ast.Constant):
        if isinstance(node.value, bool) or not isinstance(node.value, (int, float)):
            raise InputError(f"{quote(node.value)} is not a number; a formula has numbers, names and functions")
        _read_number(node.value)
        return
    if isinstance(node, ast.Name):
        return
    if isinstance(node, (ast.BinOp, ast.UnaryOp)) and type(node.op) in _OPERATIONS:
        parts = [node.left, node.right] if isinstance(node, ast.BinOp) else [node.operand]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS and not node.keywords:
        if len(node.args) != 1:
            raise InputError(f"{node.func.id} takes one value")
        parts = node.args
    else:
        raise InputError(
            f"{quote(ast.get_source_segment(text, node))} is not allowed; a formula has numbers, names, + - * / ** and "
            f"{', '.join(FUNCTIONS)}"
        )
    for part in parts:
        _check(part, text, depth + 1)


def _read_number(value: int | float) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InputError("a number of the formula is not finite")
    return number


def list_names(text: str) -> set[str]:
    """Return the names of variables in a formula."""
    tree = parse(text)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in called}


def evaluate(text: str, values: Mapping[str, Any], n: int) -> np.ndarray:
    """Return the formula at n places.

    Parameters
    ----------
    text : str
    values : mapping of str to float or ndarray of shape (n,)
        Value of each name.
    n : int

    Returns
    -------
    result : ndarray of float64, shape (n,)

    Raises
    ------
    InputError
        A name is unknown, or the value is undefined or infinite somewhere.
    """
    message = f"the formula {quote(text)} is not defined or not finite at every voxel"
    tree = parse(text)
    unknown = sorted(list_names(text) - set(values))
    if unknown:
        raise InputError(f"the formula {quote(text)} has the unknown name {unknown[0]!r}")
    try:
        with np.errstate(all="ignore"):
            result = np.array(np.broadcast_to(_walk(tree, values), n), dtype=np.float64)
    except (ValueError, OverflowError, ZeroDivisionError):  # of the C library: outside the domain, or too large
        raise InputError(message) from None
    if not np.isfinite(result).all():
        raise InputError(message)
    return result


def _walk(node: ast.AST, values: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Constant):
        return np.float64(_read_number(node.value))  # type: ignore[arg-type]
    if isinstance(node, ast.Name):
        return np.asarray(values[node.id], dtype=np.float64)
    if isinstance(node, ast.Call):
        assert isinstance(node.func, ast.Name)
        found = FUNCTIONS[node.func.id](_walk(node.args[0], values))
    elif isinstance(node, ast.BinOp):
        found = _OPERATIONS[type(node.op)](_walk(node.left, values), _walk(node.right, values))
    else:
        assert isinstance(node, ast.UnaryOp)
        found = _OPERATIONS[type(node.op)](_walk(node.operand, values))
    return np.asarray(found, dtype=np.float64)


def formula() -> Reading:
    """Return how to read a formula from a file; a plain number is one too."""

    def read(value: object) -> str:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise refuse("type", f"expected a formula, not {quote(value)}")
        try:
            written = value if isinstance(value, str) else repr(value)
            parse(written)
        except ValueError:  # an integer of thousands of digits
            raise refuse("value", "a number of too many digits") from None
        except InputError as error:
            raise refuse("value", str(error)) from None
        return written

    words = f"a formula of {', '.join(VARIABLES)} and parameters"
    return Reading(read, lambda: {"type": ["string", "number"], "maxLength": MOST_CHARACTERS, "description": words})
