"""Dotted places of an experiment that a factor moves, and putting a value there.

``group.name``
    A parameter: an override of the experiment.
``arms.NAME.regimen.0.dose``, ``arms.*.override.group.name``, ``drugs.NAME.…``, ``patient.…``, ``scene.…``,
``population.…``, ``time.…``, ``switches.NAME``, ``seed``
    A key of the resolved experiment; ``*`` means all of those that have the rest of the place. A number with a source is
    meant by its name, without ``value``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from niche_sim.config.problems import suggest
from niche_sim.config.schema import ExperimentModel, find_model, list_keys
from niche_sim.errors import InputError
from niche_sim.units import quote

Keys = tuple[str | int, ...]

_HEADS = ("seed", "time", "population", "scene", "patient", "drugs", "switches", "arms", "override")
_SEVERAL: dict[tuple[str, ...], str] = {
    ("time",): "time.length", ("population",): "population.dormant_dtc", ("switches",): "switches.division",
    ("drugs",): "drugs.zoledronate.pharmacokinetics.central_volume", ("arms",): "arms.*.regimen.0.dose",
    ("override",): "dormancy.exit_rate",
}  # fmt: skip
_NEVER = {
    "parameters": "write the parameter as group.name",
    "record": "what is recorded follows from the endpoints",
    "spread": "patients of a cohort have it; a study has factors",
}


def split_place(place: str) -> tuple[str, ...]:
    """Return the keys of a place; what follows `override` is one key."""
    keys = tuple(place.split("."))
    if "override" in keys[:-1]:
        at = keys.index("override") + 1
        return (*keys[:at], ".".join(keys[at:]))
    return keys


def find_places(place: str, experiment: Mapping[str, Any], parameters: Mapping[str, Any]) -> list[str]:
    """Return what a place means, wildcards replaced: dotted places, each of one value.

    Parameters
    ----------
    place : str
    experiment : mapping
        Resolved.
    parameters : mapping of dotted name
        The parameters that there are.

    Raises
    ------
    InputError
        There is no such place.
    """
    if place in parameters:
        return [place]
    keys = split_place(place)
    if keys[0] in _NEVER:
        raise InputError(f"{quote(place)} cannot be a factor: {_NEVER[keys[0]]}")
    if keys == ("scene", "file"):
        raise InputError("'scene.file' cannot be a factor: a study has one image, kept in its folder; run a study for each")
    if keys[0] not in _HEADS:
        known = [*parameters, *_HEADS]
        raise InputError(f"neither a parameter nor a place of an experiment{suggest(place, known)}")
    several = _SEVERAL.get(keys[:1] if keys[0] == "arms" and len(keys) == 2 else keys)
    if several is not None:
        raise InputError(f"{quote(place)} is not one value: name one of it, e.g. {several}")
    if keys[0] == "override":
        return find_places(keys[-1], experiment, parameters)
    found = list(_walk(experiment, keys, ()))
    if not found:
        raise InputError(f"nothing of the experiment has the place {quote(place)}{_find_gap(experiment, keys)[1]}")
    return [".".join(str(key) for key in path) for path in found]


def _walk(value: Any, keys: tuple[str, ...], done: Keys) -> Iterator[Keys]:
    """Yield the paths that keys with wildcards lead to; the last key of a mapping need not be there yet."""
    if not keys:
        yield (*done, "value") if isinstance(value, dict) and "value" in value else done
        return
    key, rest = keys[0], keys[1:]
    if isinstance(value, list):
        chosen = range(len(value)) if key == "*" else [int(key)] if key.isdecimal() and int(key) < len(value) else []
        for index in chosen:
            yield from _walk(value[index], rest, (*done, index))
    elif isinstance(value, dict):
        for name in list(value) if key == "*" else [key]:
            if name in value:
                yield from _walk(value[name], rest, (*done, name))
            elif not rest and _may_have(done, name):
                yield (*done, name)


def _may_have(done: Keys, key: str) -> bool:
    """Whether the mapping at a path may have a key that it has not: one of its model, or any where none is known."""
    if done and done[-1] == "override":
        return True
    if len(done) == 4 and done[2] == "regimen":
        from niche_sim.config.schema import CourseModel

        return key in list_keys(CourseModel)
    model = find_model(ExperimentModel, done)
    return model is not None and key in list_keys(model)


def _find_gap(value: Any, keys: tuple[str, ...], done: tuple[str, ...] = ()) -> tuple[int, str]:
    """Return how far keys lead, a wildcard where it leads farthest, and what is there instead of the next."""
    if not keys:
        return len(done), ""
    key, held, path = keys[0], _list_children(value), ".".join(done)
    if key == "*" and held:
        return max((_find_gap(inner, keys[1:], (*done, name)) for name, inner in held.items()), key=lambda found: found[0])
    if key in held:
        return _find_gap(held[key], keys[1:], (*done, key))
    if isinstance(value, dict):
        return len(done), suggest(key, _list_known(done, value))
    return len(done), f": {path} has {len(value)}, counted from 0" if isinstance(value, list) else f": {path} is one value"


def _list_children(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    return {str(index): inner for index, inner in enumerate(value)} if isinstance(value, list) else {}


def _list_known(done: tuple[str, ...], value: dict[str, Any]) -> list[str]:
    if len(done) == 4 and done[2] == "regimen":
        from niche_sim.config.schema import CourseModel

        return list_keys(CourseModel)
    return list(value)


def read_place(experiment: Mapping[str, Any], place: str) -> Any:
    """Return the value at a place, or the number with range and source that holds it; None if there is none."""
    keys = split_place(place)
    value: Any = experiment
    for key in keys[:-1] if keys[-1] == "value" else keys:
        try:
            value = value[int(key) if isinstance(value, list) else key]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return value


def find_keys(place: str, parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys under which the value of a place is put into a resolved experiment."""
    return ("override", place) if place in parameters else split_place(place)


def put(container: Any, keys: tuple[str, ...], value: Any) -> Any:
    """Return a copy with a value at some keys; what is not on the way is shared, not copied."""
    if not keys:
        return value
    if isinstance(container, list):
        index = int(keys[0])
        return [*container[:index], put(container[index], keys[1:], value), *container[index + 1 :]]
    held = dict(container or {})
    held[keys[0]] = put(held.get(keys[0]), keys[1:], value)
    return held
