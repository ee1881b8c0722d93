"""Scenarios to begin with: the shipped experiments, each with another patient or scene if wanted, or shorter for a look."""

from collections.abc import Callable, Mapping

import reacton.ipyvuetify as v
import solara

from niche_sim.config import load_experiment
from niche_sim.config.choices import Preset, list_presets, shorten
from niche_sim.errors import InputError
from niche_sim.view.app.widgets import CHOSEN, show_note, show_select

_OWN = ""


def gather_settings(name: str, patient: str, scene: str, quick: bool) -> dict[str, str]:
    """Return the settings of `load_experiment` that a choice comes to; empty texts are the experiment's own."""
    chosen = {"patient": patient, "scene": scene}
    return {key: value for key, value in chosen.items() if value} | (shorten(name)[0] if quick else {})


def try_preset(name: str, settings: Mapping[str, str]) -> str:
    """Return what is wrong with a choice, or nothing."""
    try:
        load_experiment(name, sets=settings)
    except InputError as error:
        return str(error)
    return ""


@solara.component
def Presets(on_choose: Callable[[str, dict[str, str]], None], chosen: str = "") -> None:
    """Choose an experiment.

    Parameters
    ----------
    on_choose : callable of (str, dict of str to str)
        Called with the name and the settings, which are sound: `sets` of `load_experiment`, empty for the experiment itself.
    chosen : str
        Name of the one that is open.
    """
    name, set_name = solara.use_state(chosen)
    patient, set_patient = solara.use_state(_OWN)
    scene, set_scene = solara.use_state(_OWN)
    quick, set_quick = solara.use_state(False)
    fault, set_fault = solara.use_state("")

    def choose(other: str) -> None:
        set_name(other)
        set_fault("")

    def submit() -> None:
        settings = gather_settings(name, patient, scene, quick)
        told = try_preset(name, settings)
        set_fault(told)
        if not told:
            on_choose(name, settings)

    with v.Html(tag="div", class_="niche-presets"):
        for preset in list_presets("experiments"):
            _Preset(preset, preset.name == name, choose).key(preset.name)
            if preset.name == name:
                with v.Html(tag="div", style_="padding: 4px 12px 14px 15px"):
                    _show_settings(name, patient, set_patient, scene, set_scene, quick, set_quick)
                    if fault:
                        v.Alert(type="error", dense=True, text=True, children=[fault], style_="font-size: 13px")
                    solara.Button("Open", on_click=submit, color="primary", small=True, depressed=True)


@solara.component
def _Preset(preset: Preset, chosen: bool, choose: Callable[[str], None]) -> None:
    edge = CHOSEN if chosen else "transparent"
    style = f"border-left: 3px solid {edge}; padding: 8px 12px; cursor: pointer; outline-offset: -2px"
    attributes = {"tabindex": "0", "role": "button", "aria-pressed": str(chosen).lower()}
    row = v.Html(tag="div", style_=style, class_="niche-preset", attributes=attributes)
    v.use_event(row, "click", lambda *_: choose(preset.name))
    v.use_event(row, "keyup.enter", lambda *_: choose(preset.name))
    with row:
        v.Html(tag="div", children=[preset.title], style_="font-weight: 500; font-size: 14px; line-height: 1.4")
        show_note(preset.note)
        show_note(f"{preset.name}: {preset.facts}")


def _show_settings(
    name: str, patient: str, set_patient: Callable[[str], None], scene: str, set_scene: Callable[[str], None], quick: bool,
    set_quick: Callable[[bool], None],
) -> None:  # fmt: skip
    with v.Html(tag="div", style_="display: flex; flex-wrap: wrap; gap: 8px"):
        for kind, held, change in (("patient", patient, set_patient), ("scene", scene, set_scene)):
            items = [{"text": f"{kind.capitalize()} of the experiment", "value": _OWN}]
            items += [{"text": preset.title, "value": preset.name} for preset in list_presets(f"{kind}s")]
            show_select(kind.capitalize(), items, held, change, style="flex: 1 1 200px")
    said = shorten(name)[1]
    if said:
        v.Checkbox(label="Quick look", v_model=quick, on_v_model=set_quick, dense=True, hide_details=True, class_="mt-2")
        show_note(said, "padding: 0 0 8px 32px;")
