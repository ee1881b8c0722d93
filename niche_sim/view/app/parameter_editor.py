"""The editor of parameters: by group, with search; range, status, source and note of each; mistakes under their field."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import reacton.ipyvuetify as v
import solara

from niche_sim.config.choices import ParameterChoice, complete, list_parameters
from niche_sim.config.editing import Change, change_parameters, find_phase
from niche_sim.view.app.widgets import CHANGED, STYLE, TextField, begins, show_mistakes, show_note, use_latest

MOST_MATCHES = 40


def find_matches(items: Sequence[ParameterChoice], search: str) -> list[ParameterChoice]:
    """Return the parameters in whose name, note, source or status every word of a search is found; by name first."""
    words = search.lower().replace(".", " ").replace("_", " ").split()
    found = [item for item in items if all(word in _text(item) for word in words)]
    return sorted(found, key=lambda item: not all(word in item.name.replace("_", " ") for word in words))


def _text(item: ParameterChoice) -> str:
    return f"{item.name} {item.status} {item.source} {item.note} {'changed' * item.changed}".lower().replace("_", " ")


def split_groups(items: Sequence[ParameterChoice]) -> dict[str, list[ParameterChoice]]:
    """Return the parameters by group, in their order."""
    groups: dict[str, list[ParameterChoice]] = {}
    for item in items:
        groups.setdefault(item.group, []).append(item)
    return groups


def name_group(group: str) -> str:
    """Return a group as a heading."""
    return group.replace("_", " ").capitalize()


@solara.component
def ParameterEditor(
    mapping: Mapping[str, Any], arm: str, moment_h: float, on_change: Callable[[Change], None]
) -> None:
    """Edit the parameters of an arm from a moment on.

    Parameters
    ----------
    mapping : mapping
        A resolved experiment.
    arm : str
    moment_h : float
        0 changes the arm from its start.
    on_change : callable of Change
        Called with the change, if it is sound.
    """
    apply = use_latest(lambda values: change_parameters(mapping, arm, moment_h, values))
    done = use_latest(lambda values: on_change(lambda held: change_parameters(held, arm, moment_h, values)))
    phase_h = find_phase(mapping, arm, moment_h)
    # What is below is drawn again only if what holds is another, not with every tick.
    _Form(mapping, arm, phase_h, moment_h > 0, apply, done).key(f"parameters of {arm}")


@solara.component
def _Form(
    mapping: Mapping[str, Any], arm: str, phase_h: float, started: bool, apply: Callable[..., Any], done: Callable[..., Any]
) -> None:
    items = solara.use_memo(lambda: list_parameters(mapping, arm, phase_h), [mapping, arm, phase_h])
    drafts, set_drafts = solara.use_state(dict[str, str]())
    mistakes, set_mistakes = solara.use_state(dict[str, str]())
    search, set_search = solara.use_state("")
    opened, set_opened = solara.use_state(list[int]())
    by_name = {item.name: item for item in items}

    def write(name: str, text: str) -> None:
        others = {key: value for key, value in drafts.items() if key != name}
        set_drafts(others if text.strip() == by_name[name].number else others | {name: text})
        set_mistakes({place: told for place, told in mistakes.items() if place != name})

    def submit() -> None:
        if not drafts:
            return
        values = {name: complete(text, by_name[name].unit) for name, text in drafts.items()}
        edit = apply(values)
        set_mistakes(edit.mistakes)
        if edit.mapping is not None:
            set_drafts({})
            done(values)
        else:
            groups = list(split_groups(items))
            wrong = {groups.index(by_name[name].group) for name in edit.mistakes if name in by_name}
            set_opened(sorted({*opened, *wrong}))

    def revert() -> None:
        set_drafts({})
        set_mistakes({})

    solara.Style(STYLE)
    with v.Html(tag="div", class_="niche-parameters"):
        _show_bar(len(drafts), started, search, set_search, submit, revert)
        show_mistakes(mistakes, by_name)
        if search.strip():
            matches = find_matches(items, search)
            more = len(matches) - MOST_MATCHES
            show_note(f"{len(matches)} of {len(items)} parameters" + (f"; the first {MOST_MATCHES} are shown" * (more > 0)))
            for item in matches[:MOST_MATCHES]:
                _show_parameter(item, True, started, drafts.get(item.name), mistakes.get(item.name, ""), write)
        else:
            with v.ExpansionPanels(accordion=True, multiple=True, flat=True, v_model=opened, on_v_model=set_opened):
                for number, (group, inside) in enumerate(split_groups(items).items()):
                    with v.ExpansionPanel(class_="niche-group"):
                        _show_heading(group, inside, drafts)
                        with v.ExpansionPanelContent():
                            for item in inside if number in opened else ():
                                wrong = mistakes.get(item.name, "")
                                _show_parameter(item, False, started, drafts.get(item.name), wrong, write)


def _show_bar(
    count: int, started: bool, search: str, set_search: Callable[[str], None], submit: Callable[[], None],
    revert: Callable[[], None],
) -> None:  # fmt: skip
    with v.Html(tag="div", style_="display: flex; flex-wrap: wrap; gap: 8px; align-items: center; margin-bottom: 8px"):
        v.TextField(
            label="Search name, note, source or status", v_model=search, on_v_model=lambda text: set_search(text or ""),
            clearable=True, dense=True, outlined=True, hide_details=True, prepend_inner_icon="mdi-magnify",
            style_="flex: 1 1 200px",
        )  # fmt: skip
        what = f"Apply {count} change{'s' * (count != 1)}" if count else "Apply"
        solara.Button(f"{what} {begins(float(started))}", on_click=submit, color="primary", small=True, depressed=True)
        solara.Button("Revert", on_click=revert, small=True, outlined=True, disabled=not count)


def _show_heading(group: str, inside: Sequence[ParameterChoice], drafts: Mapping[str, str]) -> None:
    changed = sum(item.changed or item.name in drafts for item in inside)
    with v.ExpansionPanelHeader(class_="py-2 px-3", style_="min-height: 40px"):
        with v.Html(tag="span", style_="flex: 0 1 auto; font-weight: 500"):
            v.Html(tag="span", children=[name_group(group)])
        v.Html(tag="span", children=[f"{len(inside)}"], style_="flex: 0 0 auto; color: #8a8f94; margin-left: 8px")
        if changed:
            v.Html(tag="span", children=[f"{changed} changed"], style_=f"flex: 0 0 auto; color: {CHANGED}; margin-left: 8px")
        v.Spacer()


def _show_parameter(
    item: ParameterChoice, in_full: bool, started: bool, draft: str | None, mistake: str, write: Callable[[str, str], None]
) -> None:
    fixed = started and item.read_once
    number, unit = item.usual.removesuffix(item.unit).strip() if item.unit else item.usual, item.unit
    edge = CHANGED if item.changed or draft is not None else "transparent"
    with v.Html(
        tag="div", class_="niche-parameter",
        style_=f"border-left: 3px solid {edge}; padding: 6px 0 10px 10px; display: flex; flex-wrap: wrap; gap: 2px 14px",
    ):  # fmt: skip
        with v.Html(tag="div", style_="flex: 1 1 190px; max-width: 320px"):
            TextField(
                item.name if in_full else item.key, item.number if draft is None else draft,
                lambda text: write(item.name, text), suffix=unit, hint=f"{item.low} to {item.high}", mistake=mistake,
                disabled=fixed,
            ).key(item.name)  # fmt: skip
        with v.Html(tag="div", style_="flex: 2 1 200px; padding-top: 2px"):
            show_note(item.status + (f" · {item.source}" if item.source != "none" else ""), "font-weight: 500;")
            show_note(item.note)
            if fixed:
                show_note("Read once, before the run: it can be changed at the start (time 0) only.", f"color: {CHANGED};")
            if item.changed or draft is not None:
                with v.Html(tag="div", style_=f"color: {CHANGED}; font-size: 12px"):
                    v.Html(tag="span", children=[f"changed; {item.usual} in the experiment "])
                    if not fixed:
                        solara.Button("put back", on_click=lambda: write(item.name, number), text=True, x_small=True)
