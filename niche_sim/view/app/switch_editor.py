"""The editor of switches: every process and effect, on or off, with what it is."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import reacton.ipyvuetify as v
import solara

from niche_sim.config.choices import SwitchChoice, list_switches
from niche_sim.config.editing import Change, change_switches, find_phase
from niche_sim.view.app.widgets import CHANGED, QUIET, begins, show_mistakes, show_note, use_latest

_OF_DRUGS = ("chemotherapy", "endocrine_therapy", "quiescent_shelter", "vessel_shelter")


def sort_switches(items: Sequence[SwitchChoice]) -> dict[str, list[SwitchChoice]]:
    """Return the switches under headings."""
    groups: dict[str, list[SwitchChoice]] = {}
    for item in items:
        groups.setdefault(_find_heading(item), []).append(item)
    return groups


def _find_heading(item: SwitchChoice) -> str:
    if item.is_process:
        return "Processes"
    if item.name.startswith("drug_") or item.name in _OF_DRUGS:
        return "What drugs do"
    if item.name.startswith("suitability_"):
        return "What counts for niche suitability"
    return "What wakes tumour cells" if item.name.startswith("wake_") else "Tumour cells and their niche"


@solara.component
def SwitchEditor(mapping: Mapping[str, Any], arm: str, moment_h: float, on_change: Callable[[Change], None]) -> None:
    """Switch mechanisms of an arm off or on from a moment on; each takes effect at once. Parameters as `ParameterEditor`."""
    apply = use_latest(lambda values: change_switches(mapping, arm, moment_h, values))
    done = use_latest(lambda values: on_change(lambda held: change_switches(held, arm, moment_h, values)))
    _Form(mapping, arm, find_phase(mapping, arm, moment_h), moment_h > 0, apply, done).key(f"switches of {arm}")


@solara.component
def _Form(
    mapping: Mapping[str, Any], arm: str, phase_h: float, started: bool, apply: Callable[..., Any], done: Callable[..., Any]
) -> None:
    items = solara.use_memo(lambda: list_switches(mapping, arm, phase_h), [mapping, arm, phase_h])
    mistakes, set_mistakes = solara.use_state(dict[str, str]())
    refused, set_refused = solara.use_state(0)

    def turn(name: str, on: bool) -> None:
        edit = apply({name: on})
        set_mistakes(edit.mistakes)
        if edit.mapping is not None:
            done({name: on})
        else:
            set_refused(refused + 1)  # draws the switches anew, as they are

    with v.Html(tag="div", class_="niche-switches"):
        show_note(f"A switch acts {begins(float(started))}, in this arm. What differs from the experiment is marked.")
        show_mistakes(mistakes, {item.name for item in items})
        for heading, inside in sort_switches(items).items():
            v.Html(tag="div", children=[heading], style_="font-weight: 500; margin: 14px 0 4px")
            for item in inside:
                _show_switch(item, mistakes.get(item.name, ""), turn, refused)


def _show_switch(item: SwitchChoice, mistake: str, turn: Callable[[str, bool], None], refused: int) -> None:
    edge = CHANGED if item.on != item.usual else "transparent"
    with v.Html(
        tag="div",
        style_=f"display: flex; gap: 10px; align-items: flex-start; border-left: 3px solid {edge}; padding: 3px 0 3px 10px",
    ):
        v.Switch(
            v_model=item.on, on_v_model=lambda on: turn(item.name, bool(on)), dense=True, hide_details=True, inset=True,
            class_="mt-0 pt-0", error_messages=[mistake] if mistake else [], attributes={"aria-label": item.name},
        ).key(f"{item.name} {refused}")  # fmt: skip
        with v.Html(tag="div", style_="flex: 1 1 0; min-width: 0"):
            v.Html(tag="div", children=[item.name.replace("_", " ")], style_="font-size: 14px; line-height: 1.5")
            v.Html(tag="div", children=[mistake or item.words], style_=QUIET + ("color: #b00020;" if mistake else ""))
