"""The pictures of the arms side by side, and what one chooses to see in them."""

from typing import Any, cast

import solara

from niche_sim.view.app.lattice_view import LatticeView, Tip
from niche_sim.view.app.session import Session
from niche_sim.view.common import name_time
from niche_sim.view.frame import OVERLAYS
from niche_sim.view.palette import FAINT

TISSUE = "tissue and cells"


@solara.component
def Pictures(session: Session) -> None:
    """Show the arms of the stage beside each other."""
    session.changed.value  # noqa: B018
    stage = session.stage
    if stage is None:
        return
    columns = "minmax(0, 1fr) minmax(0, 1fr)" if len(stage.shown) > 1 else "minmax(0, 760px)"
    style = {"display": "grid", "gap": "16px", "grid-template-columns": columns}
    with solara.Div(classes=["niche-arms"], style=style):
        for arm in stage.shown:
            ArmPicture(session, arm).key(arm)


@solara.component
def ArmPicture(session: Session, arm: str) -> None:
    """Show one arm."""
    number = session.drawn.value
    tip, set_tip = solara.use_state(cast(Tip | None, None))
    stage, picture = session.stage, session.pictures.get(arm)
    if stage is None or picture is None:
        return

    def hover(y: int, x: int) -> None:
        set_tip(Tip(y=y, x=x, text=session.tell_voxel(arm, y, x)))

    LatticeView(
        picture, frame=number, arm=arm, time=name_time(session.tick * float(stage.experiment.tick_h)),
        voxel_um=None if session.view.volume else float(stage.experiment.scene.voxel_um),
        mode="rotate" if session.view.volume else "pan", link="" if session.view.volume else "arms", tip=tip, on_hover=hover,
        on_leave=lambda: set_tip(None), on_pick=lambda y, x: session.pick(arm, y, x), on_rotate=session.turn,
        on_shown=lambda frame: session.seen(arm, frame),
    )  # fmt: skip


@solara.component
def ViewControls(session: Session) -> None:
    """Choose the overlay, the plane or the 3-D view, and the arms; what is opened begins without any of it."""
    session.changed.value  # noqa: B018
    _Choices(session).key(f"view {id(session.view)}")


@solara.component
def _Choices(session: Session) -> None:
    session.changed.value  # noqa: B018
    overlay, set_overlay = solara.use_state(TISSUE)
    volume, set_volume = solara.use_state(False)
    stage = session.stage
    if stage is None:
        return
    labels = {TISSUE: None} | {OVERLAYS[name].label: name for name in stage.overlays()}

    def choose(label: str) -> None:
        set_overlay(label)
        session.look(overlay=labels[label])

    def switch(on: bool) -> None:
        set_volume(on)
        session.look(volume=on)

    def show(arms: list[str]) -> None:
        if arms:
            session.show(arms[-2:] if len(arms) > 2 else arms)

    with solara.Row(gap="12px", style={"align-items": "center", "flex-wrap": "wrap"}, classes=["niche-view"]):
        with solara.Div(style={"width": "250px"}):
            solara.Select(
                label="show", value=overlay if overlay in labels else TISSUE, values=list(labels), on_value=choose,
                dense=True, classes=["niche-overlay"],
            )  # fmt: skip
        if len(stage.arms) > 1:
            with solara.Div(style={"min-width": "220px", "max-width": "420px"}):
                solara.SelectMultiple(
                    "arms, at most two", stage.shown, stage.arms, on_value=show, dense=True, classes=["niche-shown"]
                )
        if session.planes > 1:
            solara.Switch(label="3-D", value=volume, on_value=switch, classes=["niche-volume"])
            Depth(session, volume)


@solara.component
def Depth(session: Session, volume: bool) -> None:
    """Choose the plane that is shown, or how much of the volume is cut away."""
    session.drawn.value  # noqa: B018
    last = session.planes - 1
    with solara.Div(style={"width": "220px"}):
        if volume:
            shown = last if session.view.cut is None else session.view.cut
            solara.SliderInt(f"planes 0 to {shown}", value=shown, min=0, max=last, on_value=lambda z: session.look(cut=z))
        else:
            plane = session.plane
            solara.SliderInt(f"plane {plane}", value=plane, min=0, max=last, on_value=lambda z: session.look(plane=z))


@solara.component
def Followed(session: Session) -> None:
    """Tell the life of the cell that was clicked."""
    session.charted.value  # noqa: B018
    follow: Any = session.view.follow
    if follow is None:
        flat = "Point at a voxel to see what is in it; click a cell to follow it."
        solara.Text("Drag to turn it." if session.view.volume else flat, style=f"color: {FAINT}; font-size: 13px")
        return
    arm, ident = follow
    with solara.Card(margin=0, elevation=0, style={"border": "1px solid #ddd"}, classes=["niche-life"]):
        with solara.Row(style={"align-items": "center"}, justify="space-between"):
            solara.Text(f"Following cell {ident} in {arm}", style="font-weight: 600")
            solara.Button("Let go", text=True, small=True, on_click=lambda: session.look(follow=None))
        look = "white-space: pre-wrap; font-size: 12.5px; max-height: 260px; overflow: auto"
        solara.Preformatted("\n".join(session.life), style=look)
