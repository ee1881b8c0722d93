"""Collects the mistakes of one document, and turns those of a model into places and sentences."""

from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from niche_sim.config.problems import ConfigError, Path, Problem, suggest, write_path
from niche_sim.config.reader import Document
from niche_sim.config.schema import find_model, list_keys
from niche_sim.errors import InputError
from niche_sim.units import quote

Model = TypeVar("Model", bound=BaseModel)

_EXPECTED = {
    "model_type": "expected a mapping of keys",
    "dict_type": "expected a mapping of names",
    "list_type": "expected a list",
}


class Report:
    """A document and what is wrong in it.

    `broken` holds paths that are already reported: nothing more is said about what lies below them.
    """

    def __init__(self, document: Document):
        self.document = document
        self.problems: list[Problem] = list(document.problems)
        self.broken: set[Path] = set()

    def add(self, path: Path, code: str, message: str, *, key: bool = False) -> None:
        """Note a mistake at a value, or at its key; the first mistake of a path is the one that counts."""
        if any(path[:end] in self.broken for end in range(1, len(path) + 1)):
            return
        place = self.document.key_place(path) if key else self.document.place(path)
        problem = Problem(place.file, place.line, place.column, write_path(path), code, message)
        if problem not in self.problems:
            self.problems.append(problem)

    def adopt(self, path: Path, error: ConfigError) -> None:
        """Take over the mistakes of a file that `path` refers to."""
        self.problems += [problem for problem in error.problems if problem not in self.problems]
        self.broken.add(path)

    def fail(self, path: Path, code: str, message: str, *, key: bool = False) -> None:
        """Note a mistake and say nothing more about what lies at or below the path."""
        self.add(path, code, message, key=key)
        self.broken.add(path)

    def raise_problems(self) -> None:
        """Raise ConfigError if there is any mistake, in the order of the text."""
        if self.problems:
            raise ConfigError(sort_problems(self.problems, self.document.file))

    def check_keys(self, path: Path, known: list[str], required: list[str]) -> bool:
        """Note unknown and missing keys of a mapping; whether it is a mapping at all."""
        data = self.document.get(path)
        if not isinstance(data, dict):
            self.fail(path, "type", f"expected a mapping with {', '.join(known[:8])}, not {_kind(data)}")
            return False
        for key in data:
            if key not in known:
                self.add((*path, key), "unknown", f"unknown key{suggest(key, known)}", key=True)
        for key in required:
            if key not in data:
                self.add((*path, key), "missing", f"missing: {quote(key)} is needed here", key=True)
        return True

    def check_model(self, model: type[Model], path: Path = ()) -> Model | None:
        """Return what a model reads at a path, or None after noting every mistake."""
        try:
            return model.model_validate(self.document.get(path))
        except ValidationError as error:
            for item in error.errors(include_url=False, include_input=True):
                self._translate(model, path, item)
            return None

    def _translate(self, model: type[BaseModel], path: Path, item: Any) -> None:
        inner: Path = tuple(part for part in item["loc"] if part != "[key]")
        where, code = path + inner, item["type"]
        if code == "extra_forbidden":
            owner = find_model(model, inner[:-1])
            known = list_keys(owner) if owner else []
            self.add(where, "unknown", f"unknown key{suggest(inner[-1], known)}", key=True)
        elif code == "missing":
            near = self._find_misspelt(where, model, inner)
            self.add(where, "missing", f"missing: {quote(inner[-1])} is needed here{near}", key=True)
        elif code in _EXPECTED:
            hint = "; write {} for an empty one" if item["input"] is None and code != "list_type" else ""
            self.add(where, "type", f"{_EXPECTED[code]}, not {_kind(item['input'])}{hint}")
        elif code in ("too_short", "too_long"):
            bounds = item["ctx"]
            limit = bounds.get("min_length", bounds.get("max_length"))
            side = "at least" if code == "too_short" else "at most"
            self.add(where, "range", f"expected {side} {limit} {'entry' if limit == 1 else 'entries'}")
        else:
            self.add(where, code if "ctx" in item and "message" in item["ctx"] else "type", item["msg"])

    def _find_misspelt(self, where: Path, model: type[BaseModel], inner: Path) -> str:
        """Say which unknown key was perhaps meant to be the missing one."""
        data, owner = self.document.get(where[:-1]), find_model(model, inner[:-1])
        known = list_keys(owner) if owner else []
        others = [key for key in data if key not in known] if isinstance(data, dict) else []
        near = get_close_matches(str(where[-1]), others, n=1, cutoff=0.6)
        return f" (is it {near[0]!r}?)" if near else ""

    def read_part(self, model: type[Model], path: Path) -> Model | None:
        """Return what a model reads at a path, or None without noting anything."""
        try:
            return model.model_validate(self.document.get(path) or {})
        except ValidationError:
            return None

    def attempt(self, path: Path, code: str, action: Any, *arguments: Any) -> Any:
        """Return action(*arguments), or None after noting the InputError that it raised."""
        try:
            return action(*arguments)
        except InputError as error:
            self.add(path, code, str(error))
            return None


def sort_problems(problems: list[Problem], file: str) -> list[Problem]:
    """Return the problems by file, the given one first, then by line and column."""
    return sorted(problems, key=lambda p: (p.file != file, p.file, p.line or 0, p.column or 0))


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None else quote(value)
