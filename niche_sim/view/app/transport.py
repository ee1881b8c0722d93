"""Play, pause, step, speed, reset, the clock, and the timeline on which one goes back."""

from collections.abc import Callable
from html import escape

import solara

from niche_sim.view import palette
from niche_sim.view.app.session import Session
from niche_sim.view.app.stage import Mark, Stage
from niche_sim.view.common import name_time

STRIDES_H = (("1 tick", 0.0), ("1 day", 24.0), ("3 days", 72.0), ("1 week", 168.0), ("4 weeks", 672.0))
_SHAPES = {  # a mark on the timeline, 10 pixels wide and high around (0, 0)
    "checkpoint": '<circle r="1.3" fill="{ink}" opacity="0.6"/>',
    "dose": '<path d="M0,4 L-3.4,-3.2 L3.4,-3.2 Z" fill="{ink}"/>',
    "missed": '<path d="M0,4 L-3.4,-3.2 L3.4,-3.2 Z" fill="white" stroke="{ink}"/>',
    "change": '<path d="M0,-4 L4,0 L0,4 L-4,0 Z" fill="white" stroke="{ink}" stroke-width="1.4"/>',
    "branch": '<path d="M-3,-4.5 L1,0 L-3,4.5" fill="none" stroke="{ink}" stroke-width="1.8"/>',
}
ROW = 14  # pixels


def list_strides(tick_h: float) -> dict[str, int]:
    """Return the steps one can choose, in ticks of `tick_h`, shortest first."""
    found: dict[str, int] = {}
    for label, hours in STRIDES_H:
        ticks = max(1, round(hours / tick_h))
        if ticks not in found.values():
            found[f"{name_time(tick_h)}" if hours == 0 else label] = ticks
    return found


@solara.component
def Transport(session: Session) -> None:
    """Show the buttons, the speed and the clock."""
    session.changed.value, session.busy.value  # noqa: B018, drawn again when these change
    stage = session.stage
    if stage is None:
        return
    strides = list_strides(float(stage.experiment.tick_h))
    names = {ticks: name for name, ticks in strides.items()}
    playing = session.playing.value
    with solara.Row(gap="6px", style={"align-items": "center", "flex-wrap": "wrap"}, classes=["niche-transport"]):
        _show_button("Back to the start", "mdi-skip-backward", lambda: session.seek(0), "niche-reset")
        _show_button("One step back", "mdi-step-backward", lambda: session.step(-1), "niche-back", disabled=playing)
        _show_button(
            "Pause" if playing else "Play", "mdi-pause" if playing else "mdi-play", lambda: session.play(not playing),
            "niche-play", primary=True,
        )  # fmt: skip
        _show_button("One step on", "mdi-step-forward", lambda: session.step(1), "niche-step", disabled=playing)
        with solara.Div(style={"width": "130px"}):
            solara.Select(
                label="one step is", value=names.get(session.stride.value, next(iter(strides))), values=list(strides),
                on_value=lambda name: session.stride.set(strides[name]), dense=True, classes=["niche-speed"],
            )  # fmt: skip
        Clock(session)


@solara.component
def Clock(session: Session) -> None:
    """Show the time."""
    session.drawn.value  # noqa: B018
    stage = session.stage
    if stage is None:
        return
    end = name_time(stage.last_tick * float(stage.experiment.tick_h))
    mode = "" if stage.living else " · replay of a recorded run"
    solara.HTML(
        tag="span", unsafe_innerHTML=f"<b>{escape(session.clock)}</b> of {escape(end)}{mode}",
        style="font-size: 18px; font-variant-numeric: tabular-nums; padding: 0 8px", classes=["niche-clock"],
    )  # fmt: skip


def _show_button(
    label: str, icon: str, action: Callable[[], None], name: str, *, primary: bool = False, disabled: bool = False
) -> None:
    look = {"color": "primary", "fab": True, "elevation": 0} if primary else {"icon": True}
    solara.Button(
        icon_name=icon, on_click=action, disabled=disabled, classes=[name], small=True,
        attributes={"aria-label": label, "title": label}, **look,
    )  # fmt: skip


@solara.component
def Timeline(session: Session) -> None:
    """Show the slider of time with the doses, changes, checkpoints and branches of each arm under it."""
    session.drawn.value  # noqa: B018
    stage = session.stage
    if stage is None:
        return
    with solara.Column(gap="0px", style={"min-width": "0", "padding-right": "120px"}, classes=["niche-timeline"]):
        solara.SliderInt(label="", value=session.tick, min=0, max=max(1, stage.last_tick), on_value=session.seek)
        Strip(session)


@solara.component
def Strip(session: Session) -> None:
    """Show a row an arm: where it has been run, and what happens to it when."""
    session.charted.value, session.changed.value  # noqa: B018
    if session.stage is not None:
        solara.HTML(tag="div", unsafe_innerHTML=draw_strip(session.stage), style="padding: 0 8px; margin-top: -14px")


def draw_strip(stage: Stage) -> str:
    """Return the marks of the arms that are shown as HTML, one row an arm; titles tell what each is."""
    end_h = max(stage.last_tick, 1) * float(stage.experiment.tick_h)
    rows = []
    for arm in stage.shown:
        ink = palette.pick_arm(stage.arms.index(arm))["color"]
        marks = "".join(_draw_mark(mark, ink, end_h) for mark in stage.marks(arm) if mark.time_h <= end_h)
        line = f'<div style="position: absolute; inset: 50% 0 auto 0; border-top: 1px solid {ink}; opacity: 0.4"></div>'
        name = f'<div style="position: absolute; left: calc(100% + 14px); color: {ink}">{escape(arm)}</div>'
        rows.append(f'<div style="position: relative; height: {ROW}px; line-height: {ROW}px">{line}{marks}{name}</div>')
    return f'<div class="niche-strip" style="font-size: 12px; white-space: nowrap">{"".join(rows)}</div>'


def _draw_mark(mark: Mark, ink: str, end_h: float) -> str:
    title = f"{escape(name_time(mark.time_h))}: {escape(mark.text)}"
    shape = _SHAPES[mark.kind].format(ink=ink)
    return (
        f'<svg data-kind="{mark.kind}" viewBox="-5 -5 10 10" width="10" height="10" style="position: absolute; top: 2px; '
        f'left: calc({100 * mark.time_h / end_h:.3f}% - 5px)"><title>{title}</title>{shape}</svg>'
    )
