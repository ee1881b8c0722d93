"""The editor of regimens: a card a course, its fields those of a file; what was given before is told and stays."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import reacton.ipyvuetify as v
import solara

from niche_sim.config.choices import (
    DrugChoice,
    FieldChoice,
    list_drugs,
    list_fields,
    list_presets,
    read_fields,
    write_fields,
)
from niche_sim.config.courses import end_courses, move_courses, read_regimen
from niche_sim.config.editing import Change, Edit, change_regimen, find_arm, list_courses
from niche_sim.units import write
from niche_sim.view.app.widgets import CHANGED, STYLE, TextField, begins, show_mistakes, show_note, show_select
from niche_sim.view.common import describe_regimen

Texts = dict[str, str]
_GRID = "display: grid; grid-template-columns: repeat(auto-fill, minmax(132px, 1fr)); gap: 10px"
FIRST = ("drug", "dose", "route", "infusion", "start", "interval", "until", "doses")
"""Fields in the order in which one thinks of them; the others most courses leave as they are."""
EMPTY = {
    "interval": "empty: once", "start": "empty: now", "until": "empty: to the end", "doses": "empty: no limit",
    "infusion": "empty: as usual for the drug", "cycle": "empty: no cycles", "adherence": "empty: all taken",
    "missed": "empty: none",
}  # fmt: skip


def order_fields(course: Texts, more: bool) -> list[FieldChoice]:
    """Return the fields to show of a course; only what is given into a vein is infused."""
    fields = {field.key: field for field in list_fields()}
    others = [key for key in fields if key not in FIRST and (more or course[key] not in ("", fields[key].default))]
    return [fields[key] for key in (*FIRST, *others) if key != "infusion" or course["route"] in ("", "iv") or course[key]]


def begin_course(drugs: Sequence[DrugChoice], drug: str, moment_h: float) -> Texts:
    """Return the fields of a course to begin with: the usual dose of a drug, once, at the moment."""
    found = next((item for item in drugs if item.name == drug), None)
    dose, infusion = found.usual[found.routes[0]] if found else ("", "")
    route = found.routes[0] if found else ""
    texts = {"drug": drug, "dose": dose, "route": route, "infusion": infusion, "start": str(write(moment_h, "h"))}
    return write_fields(read_fields(texts))


def change_field(drugs: Sequence[DrugChoice], texts: Texts, key: str, text: str) -> Texts:
    """Return the fields of a course with one changed; another drug brings its route and its usual dose."""
    if key == "drug" and text != texts.get("drug"):
        begun = begin_course(drugs, text, 0.0)
        return texts | {name: begun[name] for name in ("drug", "dose", "route", "infusion")}
    changed = texts | {key: text}
    return changed | {"infusion": ""} if key == "route" and text != "iv" else changed


def load_regimen(name: str, moment_h: float) -> list[Texts]:
    """Return the fields of the courses of a shipped regimen, its time 0 put at the moment."""
    return [write_fields(course) for course in move_courses(read_regimen(name), moment_h)]


def tell_given(mapping: Mapping[str, Any], arm: str, moment_h: float) -> str:
    """Return in words what was given before a moment."""
    return describe_regimen(end_courses(find_arm(mapping, arm).get("regimen") or [], moment_h))


def find_mistakes(mistakes: Mapping[str, str], number: int) -> dict[str, str]:
    """Return the mistakes of a course by key."""
    return {place.partition(".")[2]: told for place, told in mistakes.items() if place.split(".")[0] == str(number)}


@solara.component
def RegimenEditor(
    mapping: Mapping[str, Any], arm: str, moment_h: float, on_change: Callable[[Change], None]
) -> None:
    """Edit what is given in an arm from a moment on; parameters as `ParameterEditor`."""
    _Form(mapping, arm, moment_h, on_change).key(f"regimen of {arm}")


@solara.component
def _Form(mapping: Mapping[str, Any], arm: str, moment_h: float, on_change: Callable[[Change], None]) -> None:
    drugs = solara.use_memo(lambda: list_drugs(mapping), [mapping])
    drafts, set_drafts = solara.use_state(cast(list[Texts] | None, None))  # None: as the arm has it
    mistakes, set_mistakes = solara.use_state(dict[str, str]())
    courses: list[Texts] = drafts if drafts is not None else [write_fields(c) for c in list_courses(mapping, arm, moment_h)]

    def edit(new: list[Texts]) -> None:
        set_drafts(new)
        set_mistakes({})

    def write_field(number: int, key: str, text: str) -> None:
        if text == courses[number][key]:
            return
        changed = change_field(drugs, courses[number], key, text)
        set_drafts([changed if i == number else course for i, course in enumerate(courses)])
        set_mistakes({place: told for place, told in mistakes.items() if place != f"{number}.{key}"})

    def copy(number: int) -> None:
        edit([*courses[: number + 1], dict(courses[number]), *courses[number + 1 :]])

    def remove(number: int) -> None:
        edit([course for i, course in enumerate(courses) if i != number])

    def submit() -> None:
        if drafts is None:
            return

        def change(held: Mapping[str, Any]) -> Edit:
            return change_regimen(held, arm, moment_h, [read_fields(course) for course in courses])

        edit = change(mapping)
        set_mistakes(edit.mistakes)
        if edit.mapping is not None:
            set_drafts(None)
            on_change(change)

    def revert() -> None:
        set_drafts(None)
        set_mistakes({})

    places = {f"{number}.{field.key}" for number in range(len(courses)) for field in list_fields()}
    solara.Style(STYLE)
    with v.Html(tag="div", class_="niche-regimen"):
        if moment_h > 0:
            show_note(
                f"Given so far, which stays: {tell_given(mapping, arm, moment_h)}. Below is what is still to be given."
            )
        _show_bar(drafts is not None, moment_h, edit, submit, revert)
        show_mistakes(mistakes, places)
        for number, course in enumerate(courses):
            wrong = find_mistakes(mistakes, number)
            acts = partial(write_field, number), partial(copy, number), partial(remove, number)
            _show_course(course, wrong, drugs, *acts)
        if not courses:
            show_note("No drug is to be given.", "padding: 10px 0;")
        first = courses[-1]["drug"] if courses else "zoledronate"
        solara.Button(
            "Add a course", icon_name="mdi-plus", text=True, small=True,
            on_click=lambda: edit([*courses, begin_course(drugs, first, moment_h)]),
        )  # fmt: skip


def _show_bar(
    changed: bool, moment_h: float, edit: Callable[[list[Texts]], None], submit: Callable[[], None],
    revert: Callable[[], None],
) -> None:  # fmt: skip
    items = [{"text": preset.title, "value": preset.name} for preset in list_presets("regimens")]

    def load(name: str | None) -> None:
        if name:
            edit(load_regimen(name, moment_h))

    with v.Html(tag="div", style_="display: flex; flex-wrap: wrap; gap: 8px; align-items: center; margin: 8px 0"):
        show_select("Load a regimen", items, None, load, style="flex: 1 1 200px")
        solara.Button(f"Apply {begins(moment_h)}", on_click=submit, color="primary", small=True, depressed=True)
        solara.Button("Revert", on_click=revert, small=True, outlined=True, disabled=not changed)


def _show_course(
    course: Texts, mistakes: Mapping[str, str], drugs: Sequence[DrugChoice], write_field: Callable[[str, str], None],
    copy: Callable[[], None], remove: Callable[[], None],
) -> None:  # fmt: skip
    said = {key: text for key, text in read_fields(course).items() if key != "missed"}
    with v.Card(outlined=True, class_="my-2 pa-3 niche-course"):
        with v.Html(tag="div", style_="display: flex; gap: 4px; align-items: center; margin-bottom: 8px"):
            title = _describe(said)
            v.Html(tag="div", children=[title], style_="flex: 1 1 0; min-width: 0; font-weight: 500; font-size: 14px")
            actions = (("mdi-content-copy", "Duplicate this course", copy), ("mdi-delete", "Remove this course", remove))
            for icon, told, action in actions:
                look = {"title": told, "aria-label": told}
                solara.Button(icon_name=icon, on_click=action, icon=True, small=True, attributes=look)
        _Fields(course, dict(mistakes), drugs, write_field)


def _describe(course: Mapping[str, Any]) -> str:
    try:
        return describe_regimen([course])
    except (TypeError, ValueError):  # a number of doses that is none yet
        return str(course.get("drug", "a course"))


@solara.component
def _Fields(
    course: Texts, mistakes: dict[str, str], drugs: Sequence[DrugChoice], write_field: Callable[[str, str], None]
) -> None:
    wanted, set_wanted = solara.use_state(False)
    more = wanted or bool(mistakes.keys() - set(FIRST))
    with v.Html(tag="div", style_=_GRID):
        for field in order_fields(course, more):
            _show_field(field, course, mistakes.get(field.key, ""), drugs, write_field)
    if not more:
        solara.Button("Cycles, adherence, missed doses", on_click=lambda: set_wanted(True), text=True, x_small=True)
    others = [told for key, told in mistakes.items() if key not in course]
    if others:
        v.Html(tag="div", children=["; ".join(others)], style_=f"color: {CHANGED}; font-size: 12px")


def _show_field(
    field: FieldChoice, course: Texts, mistake: str, drugs: Sequence[DrugChoice], write_field: Callable[[str, str], None]
) -> None:
    if field.key in ("drug", "route"):
        drug = next((item for item in drugs if item.name == course["drug"]), None)
        routes = drug.routes if drug else field.words
        names = [item.name for item in drugs] if field.key == "drug" else routes
        held = course[field.key] or (routes[0] if field.key == "route" else "")
        write = lambda text: write_field(field.key, text or "")  # noqa: E731
        show_select(field.label, names, held, write, mistake=mistake).key(field.key)
    else:
        hint = "; ".join(part for part in (field.expected.rpartition(", ")[2], EMPTY.get(field.key)) if part)
        TextField(field.label, course[field.key], lambda text: write_field(field.key, text), hint=hint, mistake=mistake).key(
            field.key
        )
