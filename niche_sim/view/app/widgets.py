"""What the editors share: a text field that tells its mistake, a note, mistakes of no field, and callbacks that stay."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import reacton.ipyvuetify as v
import solara

from niche_sim.view.palette import FAINT

CHANGED = "#b35806"  # what differs from the experiment's own
CHOSEN = "#1976d2"
QUIET = f"color: {FAINT}; font-size: 12px; line-height: 1.35; overflow-wrap: anywhere;"


STYLE = ".v-messages__message { line-height: 1.3 !important; }"  # of two lines, the tails of the second were cut off


@solara.component
def TextField(
    label: str, value: str, on_value: Callable[[str], None], *, suffix: str = "", hint: str = "", mistake: str = "",
    disabled: bool = False, style: str = "",
) -> None:  # fmt: skip
    """Show a text to edit; it is handed on when the field is left or Enter is pressed."""
    latest = use_latest(on_value)
    field = v.TextField(
        label=label, v_model=value, suffix=suffix, hint=hint, persistent_hint=bool(hint), disabled=disabled, dense=True,
        outlined=True, hide_details="auto", error_messages=[mistake] if mistake else [], style_=style,
    )  # fmt: skip
    leave: Any = lambda widget, event, data: latest(str(widget.v_model or ""))  # noqa: E731
    v.use_event(field, "blur", leave)
    v.use_event(field, "keyup.enter", leave)


def show_select(
    label: str, items: Sequence[Any], value: Any, on_value: Callable[[Any], Any], *, mistake: str = "", style: str = ""
) -> Any:
    """Show a choice of words, or of ``{"text": ..., "value": ...}``; return the element."""
    return v.Select(
        label=label, items=list(items), v_model=value, on_v_model=on_value, dense=True, outlined=True, hide_details="auto",
        error_messages=[mistake] if mistake else [], style_=style,
    )  # fmt: skip


def use_latest(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that stays the same and calls the newest one: what it is given to need not be drawn again."""
    held = solara.use_ref(function)
    held.current = function
    return solara.use_memo(lambda: lambda *arguments: held.current(*arguments), [])


def show_mistakes(mistakes: Mapping[str, str], places: Any) -> None:
    """Show the mistakes that belong to none of the fields on the page."""
    others = [told for place, told in mistakes.items() if place not in places]
    if others:
        v.Alert(type="error", dense=True, text=True, children=["; ".join(others)], class_="my-2", style_="font-size: 13px")


def show_note(text: str, style: str = "") -> None:
    """Show a line of explanation."""
    v.Html(tag="div", children=[text], style_=QUIET + style)


def begins(moment_h: float) -> str:
    """Return in words from when a change holds."""
    return "from now on" if moment_h > 0 else "from the start"
