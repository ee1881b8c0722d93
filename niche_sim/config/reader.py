"""Strict YAML: plain values with the place of each; nothing is constructed, caps come before parsing.

Refused: anything but a regular file, more than 1 MB, text that is not UTF-8, control characters, more than
20,000 values, nesting beyond 32, anchors and aliases, tags, several documents, duplicate keys, keys that are
not text.
Numbers follow YAML 1.2 without octal, hexadecimal, infinity and NaN.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

from niche_sim.config.problems import ConfigError, Path, Place, Problem, write_path
from niche_sim.units import quote

MOST_BYTES = 1_000_000
MOST_VALUES = 20_000
MOST_DEPTH = 32
_MOST_LINE = 20_000
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,39})")
_FLOAT = re.compile(r"[-+]?((?:0|[1-9][0-9]{0,39})(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][-+]?[0-9]{1,3})?")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff]")


@dataclass
class Document:
    """Plain data and the place of every value and key.

    `places` gives the value's place, `keys` the place of the key that leads to it; `problems` are mistakes that
    leave the rest readable (duplicate keys, control characters).
    """

    file: str
    data: Any
    places: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place(self, path: Path) -> Place:
        """Return the place of a value, or of the nearest value around it."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.places:
                return self.places[path[:end]]
        return Place(self.file)

    def key_place(self, path: Path) -> Place:
        """Return the place of the key that leads to a value, or to the nearest value around it."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.keys:
                return self.keys[path[:end]]
        return self.place(())

    def copy(self) -> "Document":
        """Return a document that shares values, not places."""
        return Document(self.file, self.data, dict(self.places), dict(self.keys), list(self.problems))

    def cut(self, path: Path) -> None:
        """Forget the places at and below a path."""
        for table in (self.places, self.keys):
            for known in [known for known in table if known[: len(path)] == path]:
                del table[known]

    def cut_out(self, path: Path) -> "Document":
        """Return the part at a path as a document of its own."""
        places, keys = (
            {known[len(path) :]: place for known, place in table.items() if known[: len(path)] == path}
            for table in (self.places, self.keys)
        )
        return Document(self.place(path).file, self.get(path), places, keys)

    def graft(self, path: Path, other: "Document", prefix: Path = ()) -> None:
        """Put (part of) another document at a path; its places keep naming its own file."""
        value = other.data
        for key in prefix:
            value = value[key]
        key_place = self.keys.get(path)
        self.cut(path)
        self.set(path, _copy(value))
        for mine, theirs in ((self.places, other.places), (self.keys, other.keys)):
            for known, place in theirs.items():
                if known[: len(prefix)] == prefix:
                    mine[path + known[len(prefix) :]] = place
        if key_place:
            self.keys[path] = key_place

    def get(self, path: Path) -> Any:
        """Return the value at a path, or None."""
        value = self.data
        for key in path:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def set(self, path: Path, value: Any) -> None:
        """Replace the value at a path whose parent is there."""
        if path:
            self.get(path[:-1])[path[-1]] = value
        else:
            self.data = value


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(inner) for key, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list) else value


def _refuse(place: Place, code: str, message: str, path: Path = ()) -> ConfigError:
    return ConfigError([Problem(place.file, place.line, place.column, write_path(path), code, message)])


# ---------------------------------------------------------------- bytes


def read_text(path: str | os.PathLike[str], shown: str) -> str:
    """Return the text of a small regular file in UTF-8.

    Raises
    ------
    ConfigError
        The file is missing, is no regular file, is too large, or is not clean UTF-8.
    """
    place = Place(shown)
    try:
        raw = _read_bytes(path, place)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise _refuse(place, "file", f"cannot be read: {reason.lower()}") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        column = error.start - (raw.rfind(b"\n", 0, error.start) + 1) + 1
        raise _refuse(Place(shown, line, column), "encoding", "not UTF-8; save the file as UTF-8") from None
    return _check_text(text, shown)


def _read_bytes(path: str | os.PathLike[str], place: Place) -> bytes:
    # A pipe would block an ordinary open for ever.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise _refuse(place, "file", f"is {kind}; expected a YAML file")
    with open(descriptor, "rb") as stream:
        raw = stream.read(MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        raise _refuse(place, "size", f"is larger than {MOST_BYTES // 1000} kB, the most a configuration file may be")
    return raw


def _check_text(text: str, shown: str) -> str:
    text = text.replace("\r\n", "\n")
    bad = _CONTROL.search(text)
    if bad:
        raise _refuse(_place_at(text, bad.start(), shown), "encoding", f"contains the control character {bad.group()!r}")
    start = 0
    for line in text.split("\n"):
        if len(line) > _MOST_LINE:
            raise _refuse(_place_at(text, start, shown), "size", f"has a line of more than {_MOST_LINE} characters")
        start += len(line) + 1
    return text


def _place_at(text: str, position: int, shown: str) -> Place:
    return Place(shown, text.count("\n", 0, position) + 1, position - (text.rfind("\n", 0, position) + 1) + 1)


# ---------------------------------------------------------------- events to values


class _Composer:
    """Builds plain values from parser events, with an explicit cap on everything."""

    def __init__(self, events: Iterator[Any], file: str):
        self.events, self.file = events, file
        self.document = Document(file, None)
        self.count = 0

    def place(self, event: Any) -> Place:
        return Place(self.file, event.start_mark.line + 1, event.start_mark.column + 1)

    def next(self, path: Path) -> Any:
        event = next(self.events)
        kind = type(event).__name__
        self.count += 1
        if self.count > 2 * MOST_VALUES:
            raise _refuse(self.place(event), "size", f"has more than {MOST_VALUES} values")
        if kind == "AliasEvent" or getattr(event, "anchor", None):
            raise _refuse(self.place(event), "alias", "anchors and aliases (& and *) are not allowed", path)
        if getattr(event, "tag", None) is not None:
            raise _refuse(self.place(event), "tag", f"tags are not allowed: {quote(str(event.tag))}", path)
        return event

    def build(self, event: Any, path: Path) -> Any:
        if len(path) > MOST_DEPTH:
            raise _refuse(self.place(event), "depth", f"nested more than {MOST_DEPTH} levels deep")
        self.document.places[path] = self.place(event)
        kind = type(event).__name__
        if kind == "MappingStartEvent":
            return self.build_mapping(path)
        if kind == "SequenceStartEvent":
            return self.build_sequence(path)
        return self.build_scalar(event, path)

    def build_sequence(self, path: Path) -> list[Any]:
        items: list[Any] = []
        while type(event := self.next(path)).__name__ != "SequenceEndEvent":
            items.append(self.build(event, (*path, len(items))))
        return items

    def build_mapping(self, path: Path) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        while type(event := self.next(path)).__name__ != "MappingEndEvent":
            if type(event).__name__ != "ScalarEvent":
                raise _refuse(self.place(event), "type", "a key must be a text", path)
            key, place = str(event.value), self.place(event)
            inner = (*path, key)
            if key in mapping:
                line = self.document.keys[inner].line
                self.report(place, "duplicate", f"this key was already given in line {line}", inner)
                kept = self.document.places[inner]
                self.build(self.next(inner), inner)
                self.document.places[inner] = kept
                continue
            self.document.keys[inner] = place
            mapping[key] = self.build(self.next(inner), inner)
            if mapping[key] is None:  # nothing after the colon: the parser gives the place of what follows
                self.document.places[inner] = place
        return mapping

    def build_scalar(self, event: Any, path: Path) -> Any:
        text = event.value
        if _CONTROL.search(text):
            self.report(self.place(event), "encoding", f"contains a control character: {quote(text)}", path)
            return _CONTROL.sub(" ", text)
        return text if event.style is not None else read_scalar(text)

    def report(self, place: Place, code: str, message: str, path: Path) -> None:
        self.document.problems.append(Problem(place.file, place.line, place.column, write_path(path), code, message))


def read_scalar(text: str) -> str | int | float | bool | None:
    """Return what an unquoted text is: nothing, true or false, a number, or the text itself."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def parse(text: str, shown: str, *, lenient: bool = False) -> Document:
    """Return the values of one YAML document with their places.

    Parameters
    ----------
    text : str
    shown : str
        File name for the places.
    lenient : bool
        Leave mistakes that can be read over in `problems`, for a `Report` to tell with all others.

    Raises
    ------
    ConfigError
        The text is not one plain YAML document; duplicate keys are reported together.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    yaml = YAML(typ="safe", pure=True)
    composer = _Composer(iter(yaml.parse(text)), shown)
    try:
        _build_document(composer)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(shown, mark.line + 1, mark.column + 1) if mark else Place(shown)
        raise _refuse(place, "syntax", f"not valid YAML: {error.problem or error.context}") from None
    except YAMLError as error:
        raise _refuse(Place(shown), "syntax", f"not valid YAML: {quote(str(error))}") from None
    # The scanner trips over some malformed directives and escapes with errors of its own.
    except (
        ValueError,
        IndexError,
        TypeError,
        AttributeError,
        KeyError,
        AssertionError,
        OverflowError,
        RecursionError,
        StopIteration,
    ):
        raise _refuse(Place(shown), "syntax", "not valid YAML") from None
    if composer.document.problems and not lenient:
        raise ConfigError(composer.document.problems)
    return composer.document


def _build_document(composer: _Composer) -> None:
    composer.next(())  # start of the stream
    event = composer.next(())
    if type(event).__name__ == "StreamEndEvent":
        raise _refuse(Place(composer.file, 1, 1), "missing", "the file is empty")
    composer.document.data = composer.build(composer.next(()), ())
    composer.next(())  # end of the document
    after = composer.next(())
    if type(after).__name__ != "StreamEndEvent":
        raise _refuse(composer.place(after), "syntax", "holds more than one YAML document")


def read_document(path: str | os.PathLike[str], shown: str | None = None, *, lenient: bool = False) -> Document:
    """Read a YAML file; see `read_text` and `parse` for what is refused."""
    shown = os.fspath(path) if shown is None else shown
    return parse(read_text(path, shown), shown, lenient=lenient)


def from_mapping(mapping: Mapping[str, Any], source: str) -> Document:
    """Return a mapping made in Python as a document without places.

    Raises
    ------
    ConfigError
        It holds something else than mappings, lists, texts, numbers, booleans and None, or too much of it.
    """
    budget = [MOST_VALUES]
    return Document(source, _plain(mapping, (), budget, source), {(): Place(source)})


def _plain(value: Any, path: Path, budget: list[int], source: str) -> Any:
    budget[0] -= 1
    if len(path) > MOST_DEPTH or budget[0] < 0:
        raise _refuse(Place(source), "depth", f"more than {MOST_DEPTH} levels or {MOST_VALUES} values", path[:4])
    if isinstance(value, Mapping):
        wrong = [key for key in value if not isinstance(key, str)]
        if wrong:
            raise _refuse(Place(source), "type", f"a key must be a text, not {quote(wrong[0])}", path)
        return {key: _plain(inner, (*path, key), budget, source) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner, (*path, i), budget, source) for i, inner in enumerate(value)]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (str, os.PathLike)):
        text = str(value)
        if _CONTROL.search(text) or len(text) > _MOST_LINE:
            raise _refuse(Place(source), "encoding", f"is too long or has a control character: {quote(text)}", path)
        return text
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    raise _refuse(Place(source), "type", f"expected a plain value, not {quote(value)}", path)
