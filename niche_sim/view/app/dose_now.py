"""One dose at once: drug, dose, route."""

from collections.abc import Callable, Mapping
from typing import Any

import reacton.ipyvuetify as v
import solara

from niche_sim.config.choices import list_drugs
from niche_sim.config.editing import Change, Edit, find_arm, give_dose
from niche_sim.view.app.widgets import STYLE, TextField, show_mistakes, show_select


def guess_drug(mapping: Mapping[str, Any], arm: str) -> str:
    """Return the drug that an arm gives first, else the first of another arm, else zoledronate."""
    own = find_arm(mapping, arm).get("regimen") or []
    courses = [*own, *(course for other in mapping["arms"].values() for course in other.get("regimen") or [])]
    return courses[0]["drug"] if courses else "zoledronate"


@solara.component
def DoseNow(mapping: Mapping[str, Any], arm: str, moment_h: float, on_change: Callable[[Change], None]) -> None:
    """Give one dose in an arm at a moment; all else stays. Parameters as `ParameterEditor`."""
    drugs = {drug.name: drug for drug in solara.use_memo(lambda: list_drugs(mapping), [mapping])}
    drug, set_drug = solara.use_state_or_update(guess_drug(mapping, arm))
    typed, set_typed = solara.use_state("")
    chosen, set_chosen = solara.use_state("")
    mistakes, set_mistakes = solara.use_state(dict[str, str]())
    found = drugs[drug]
    route = chosen if chosen in found.routes else found.routes[0]
    usual, infusion = found.usual[route]
    dose = typed or usual

    def choose(name: str | None) -> None:
        set_drug(name or drug)
        set_typed("")
        set_chosen("")
        set_mistakes({})

    def give() -> None:
        def change(held: Mapping[str, Any]) -> Edit:
            return give_dose(held, arm, moment_h, drug, dose, route, infusion or None)

        edit = change(mapping)
        set_mistakes(edit.mistakes)
        if edit.mapping is not None:
            on_change(change)

    solara.Style(STYLE)
    with v.Html(tag="div", class_="niche-dose", style_="display: flex; flex-wrap: wrap; gap: 8px; align-items: flex-start"):
        show_select("Drug", sorted(drugs), drug, choose, mistake=mistakes.get("drug", ""), style="flex: 2 1 150px")
        with v.Html(tag="div", style_="flex: 1 1 90px"):
            TextField("Dose", dose, set_typed, mistake=mistakes.get("dose", ""))
        wrong = mistakes.get("route", "")
        show_select("Route", found.routes, route, lambda text: set_chosen(text or ""), mistake=wrong, style="flex: 1 1 80px")
        solara.Button("Give now", icon_name="mdi-needle", on_click=give, color="primary", depressed=True)
    show_mistakes(mistakes, ("drug", "dose", "route"))
