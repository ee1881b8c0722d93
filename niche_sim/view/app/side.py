"""The side of the page: scenarios, branches, doses, regimens, mechanisms, parameters, exports."""

from collections.abc import Callable
from typing import Any

import solara

from niche_sim.config.editing import Change
from niche_sim.view import palette
from niche_sim.view.app.dose_now import DoseNow
from niche_sim.view.app.exports import Exports
from niche_sim.view.app.parameter_editor import ParameterEditor
from niche_sim.view.app.presets import Presets
from niche_sim.view.app.regimen_editor import RegimenEditor
from niche_sim.view.app.session import Session
from niche_sim.view.app.stage import LivingStage
from niche_sim.view.app.switch_editor import SwitchEditor
from niche_sim.view.app.widgets import TextField
from niche_sim.view.common import name_time

_NOTE = f"color: {palette.FAINT}; font-size: 13px; line-height: 1.4"


@solara.component
def Side(session: Session) -> None:
    """Show the panels; what is in one is drawn only while it is open."""
    session.changed.value  # noqa: B018
    stage = session.stage
    if stage is None:
        return
    with solara.Column(gap="0px", style={"padding": "4px 0"}):
        scenarios = lambda: Presets(session.open_named, stage.experiment.name)  # noqa: E731
        _show_panel("Scenarios", "mdi-map-outline", scenarios, "open-scenarios")
        if not isinstance(stage, LivingStage):
            Replay(session)
        else:
            _show_panel("Branch and rewind", "mdi-source-branch", lambda: Branches(session), "open-branches")
            _show_panel("Give a dose", "mdi-needle", lambda: Editing(session, DoseNow), "open-dose")
            _show_panel("Regimen", "mdi-calendar-clock", lambda: Editing(session, RegimenEditor), "open-regimen")
            _show_panel("Mechanisms", "mdi-toggle-switch-outline", lambda: Editing(session, SwitchEditor), "open-mechanisms")
            _show_panel("Parameters", "mdi-tune-vertical", lambda: Editing(session, ParameterEditor), "open-parameters")
        _show_panel("Export", "mdi-download", lambda: Exports(session), "open-exports")


def _show_panel(title: str, icon: str, draw: Callable[[], Any], name: str) -> None:
    Panel(title, icon, draw, name).key(name)  # it stays open when others come or go before it


@solara.component
def Panel(title: str, icon: str, draw: Callable[[], Any], name: str) -> None:
    """Show a heading that opens and closes what is under it."""
    opened, set_opened = solara.use_state(False)
    solara.Button(
        title, icon_name=icon, text=True, block=True, on_click=lambda: set_opened(not opened), classes=["niche-panel", name],
        attributes={"aria-expanded": str(opened).lower()},
    )  # fmt: skip
    if opened:
        with solara.Div(style={"padding": "2px 14px 14px"}, classes=[f"{name}-body"]):
            draw()


@solara.component
def Editing(session: Session, editor: Callable[..., Any]) -> None:
    """Show an editor of one of the arms that are shown, from now on; while time runs there is no now."""
    session.charted.value, session.changed.value  # noqa: B018
    chosen, choose = solara.use_state("")
    stage = session.stage
    if not isinstance(stage, LivingStage):
        return
    if session.playing.value:
        solara.Text("Time is running. Pause to change what happens from then on.", style=_NOTE)
        solara.Button("Pause", icon_name="mdi-pause", small=True, on_click=lambda: session.play(False))
        return
    arm = chosen if chosen in stage.shown else stage.shown[-1]
    if len(stage.shown) > 1:
        with solara.ToggleButtonsSingle(value=arm, on_value=choose, dense=True, style="margin-bottom: 6px"):
            for name in stage.shown:
                solara.Button(name, value=name, small=True)
    now = name_time(stage.tick * stage.tick_h)
    if stage.players[arm].farthest > stage.tick:
        words = f"{arm} was already run beyond {now}: a change begins a new arm beside it, and both can be compared."
    else:
        words = f"{arm} changes from {now} on." if stage.tick else f"{arm} changes from its start."
    solara.Text(words, style=_NOTE)
    moment_h = stage.tick * stage.tick_h

    tick, behind = stage.tick, stage.players[arm].farthest > stage.tick

    def adopt(change: Change) -> None:
        session.adopt(arm, tick, change)
        if behind:
            choose("")  # go on with the new arm

    editor(stage.experiment.resolved(), arm, moment_h, adopt).key(arm)


@solara.component
def Branches(session: Session) -> None:
    """Offer a branch of each arm that is shown, at the time that is shown."""
    session.charted.value  # noqa: B018
    stage = session.stage
    if not isinstance(stage, LivingStage):
        return
    solara.Text(
        "Move the slider of time back to any moment: what happened comes back, to the bit. A branch shares its past with "
        "the arm that it leaves, and has every random draw in common with it.", style=_NOTE,
    )  # fmt: skip
    Length(session)
    tick = stage.tick
    for arm in stage.shown:
        solara.Button(
            f"Branch {arm} at {name_time(tick * stage.tick_h)}", icon_name="mdi-source-branch", small=True,
            on_click=lambda arm=arm: session.branch(arm, tick), classes=["niche-branch"], style="margin: 4px 0",
        )  # fmt: skip


@solara.component
def Length(session: Session) -> None:
    """Show how long the experiment runs, to be changed."""
    session.changed.value  # noqa: B018
    fault, set_fault = solara.use_state("")
    stage = session.stage
    if not isinstance(stage, LivingStage):
        return
    now = name_time(stage.last_tick * stage.tick_h)

    def extend(text: str) -> None:
        if text != now:
            set_fault(stage.check_length(text))
            if not stage.check_length(text):
                session.extend(text)

    TextField("The experiment runs for", now, extend, mistake=fault, hint="such as 3 yr or 400 d")


@solara.component
def Replay(session: Session) -> None:
    """Offer to go on from a recorded result by simulating."""
    with solara.Column(style={"padding": "8px 14px"}):
        solara.Text(
            "A recorded run: its pictures are replayed, nothing is simulated. To change something from the time that is "
            "shown on, its past is computed again, to the same bit.", style=_NOTE,
        )  # fmt: skip
        solara.Button(
            "Go on from here by simulating", icon_name="mdi-play-network-outline", on_click=session.simulate,
            classes=["niche-simulate"],
        )  # fmt: skip
