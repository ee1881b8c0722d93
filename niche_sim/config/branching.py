"""The experiment that a branch runs: a finished one, changed from a time on."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from niche_sim.config.courses import end_courses, move_courses, read_hours, read_regimen
from niche_sim.config.schema import SWITCHES, is_whole
from niche_sim.errors import InputError
from niche_sim.units import write


def _sort_settings(settings: Sequence[str]) -> tuple[dict[str, str], dict[str, bool]]:
    """Return parameters and switches of `name=value` settings."""
    override: dict[str, str] = {}
    switches: dict[str, bool] = {}
    for setting in settings:
        name, equals, value = (part.strip() for part in setting.partition("="))
        if not (name and equals and value):
            raise InputError(f"--set: expected name=value, not '{setting}'")
        switch = name.removeprefix("switches.")
        if switch in SWITCHES:
            if value not in ("true", "false"):
                raise InputError(f"--set {name}: expected true or false, not '{value}'")
            switches[switch] = value == "true"
        elif name.count(".") == 1 and not name.startswith(("time.", "population.", "scene.", "record.", "patient.")):
            override[name] = value
        else:
            raise InputError(f"--set {name}: a branch changes parameters and switches only; the past cannot be changed")
    return override, switches


def add_change(
    changes: list[dict[str, Any]], moment_h: float, override: dict[str, Any], switches: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return changes with one more, or with more in the one that begins at the same time."""
    same = [change for change in changes if read_hours(change["at"], "changes") == moment_h]
    others = [change for change in changes if change not in same]
    joined: dict[str, Any] = {"at": write(moment_h, "h"), "override": {}, "switches": {}}
    for change in [*same, {"override": override, "switches": switches}]:
        joined["override"] |= change.get("override") or {}
        joined["switches"] |= change.get("switches") or {}
    return [*others, joined]


def branch_mapping(
    resolved: Mapping[str, Any], moment: str, settings: Sequence[str], regimen: str | None, length: str | None,
    arms: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    """Return an experiment that is `resolved` until `moment` and changed from then on.

    Parameters
    ----------
    resolved : mapping
        A resolved experiment.
    moment : str
        Time of the change, with its unit.
    settings : sequence of str
        Parameters and switches that hold from then on, as `name=value`.
    regimen : str or None
        Name or file of what is given from then on; what was to be given is not.
    length : str or None
    arms : sequence of str
        Arms to change; all if empty.

    Raises
    ------
    InputError
        The time is outside the run, an arm or regimen is unknown, or a setting concerns the past.
    """
    mapping = copy.deepcopy(dict(resolved))
    moment_h, tick_h = read_hours(moment, "--at"), read_hours(mapping["time"]["tick"], "time.tick")
    if length is not None:
        mapping["time"]["length"] = length
    length_h = read_hours(mapping["time"]["length"], "--length")
    if not is_whole(moment_h / tick_h):
        near = write(max(1, round(moment_h / tick_h)) * tick_h, "h")
        raise InputError(f"--at: '{moment}' is not a whole number of ticks of {write(tick_h, 'h')}; the nearest is {near}")
    if not 0 < moment_h < length_h:
        raise InputError(f"--at: '{moment}' is not inside the run, 0 to {write(length_h, 'h')}")
    for name in arms:
        if name not in mapping["arms"]:
            raise InputError(f"--arm: no arm '{name}'; there is {', '.join(mapping['arms'])}")
    override, switches = _sort_settings(settings)
    for name in arms or mapping["arms"]:
        arm = mapping["arms"][name]
        if override or switches:
            arm["changes"] = add_change(arm.get("changes", []), moment_h, override, switches)
        if regimen is not None:
            arm["regimen"] = end_courses(arm["regimen"], moment_h) + move_courses(read_regimen(regimen), moment_h)
    pictures = mapping["record"].get("pictures", [])
    if isinstance(pictures, list):  # an interval ends with a picture of the end by itself
        kept = [picture for picture in pictures if read_hours(picture, "pictures") < length_h]
        mapping["record"]["pictures"] = [*kept, write(length_h, "h")]
    return mapping
