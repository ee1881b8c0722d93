"""The page that `niche-sim view` serves: one session a tab, drawn from its own components."""

from typing import Any

import solara

from niche_sim.config import Experiment
from niche_sim.view.app import target
from niche_sim.view.app.pictures import Followed, Pictures, ViewControls
from niche_sim.view.app.series_option import DEFAULT
from niche_sim.view.app.series_view import SeriesView
from niche_sim.view.app.session import Session
from niche_sim.view.app.side import Side
from niche_sim.view.app.transport import Timeline, Transport

_STYLE = """
.v-toolbar__title { font-size: 17px !important; }
.niche-page { display: grid; grid-template-columns: 340px minmax(0, 1fr); gap: 0 22px; width: 100%; max-width: 1600px;
  margin: 0 auto; padding: 8px 14px 40px; box-sizing: border-box; }
.niche-side { border-right: 1px solid rgba(128, 128, 128, 0.25); padding-right: 10px; min-width: 0;
  position: sticky; top: 72px; align-self: start; max-height: calc(100vh - 96px); overflow-y: auto; }
.niche-panel { justify-content: flex-start !important; text-transform: none !important; letter-spacing: 0 !important; }
.niche-panel .v-btn__content { justify-content: flex-start; }
.niche-panel[aria-expanded=true] { background: rgba(128, 128, 128, 0.12); }
.niche-main { min-width: 0; }
.niche-main .v-input__slider { margin-top: 0 !important; }
@media (max-width: 900px) {
  .niche-page { grid-template-columns: minmax(0, 1fr); }
  .niche-side { order: 2; border-right: 0; padding: 16px 0 0; position: static; max-height: none; }
  .niche-arms { grid-template-columns: minmax(0, 1fr) !important; }
  .niche-timeline { padding-right: 78px !important; }
}
"""


@solara.component
def Page() -> None:
    """Show what the server was started for, to one visitor."""
    session = solara.use_memo(Session, [])
    solara.use_effect(session.start, [])

    def begin() -> None:
        session.open(target.get().subject)

    solara.use_effect(begin, [])
    solara.Style(_STYLE)
    Heading(session)
    with solara.Div(classes=["niche-page"]):
        with solara.Div(classes=["niche-side"]):
            Side(session)
        Main(session)


@solara.component
def Main(session: Session) -> None:
    """Show time, pictures and series."""
    with solara.Column(classes=["niche-main"], gap="10px"):
        Messages(session)
        Transport(session)
        Timeline(session)
        ViewControls(session)
        Pictures(session)
        Followed(session)
        Charts(session)


@solara.component
def Heading(session: Session) -> None:
    """Show the title of the experiment."""
    session.changed.value  # noqa: B018
    experiment: Any = session.stage.experiment if session.stage else None
    title = (experiment.title or experiment.name) if isinstance(experiment, Experiment) else target.get().name
    solara.Title(f"{title} - niche_sim")
    solara.AppBarTitle(title)


@solara.component
def Messages(session: Session) -> None:
    """Show what takes time and what went wrong."""
    busy, trouble = session.busy.value, session.trouble.value
    if trouble:
        close = solara.Button("Close", text=True, small=True, color="error", on_click=lambda: session.trouble.set(""))
        words = solara.Text(trouble, style="white-space: pre-wrap")
        solara.v.Alert(type="error", dense=True, text=True, class_="niche-trouble", children=[words, close])
    if busy:
        with solara.Div(classes=["niche-busy"]):
            solara.Text(f"{busy} …", style="font-size: 14px; color: #686d73")
            solara.ProgressLinear(True)


@solara.component
def Charts(session: Session) -> None:
    """Show the series of the arms that are shown."""
    session.charted.value  # noqa: B018
    names, choose = solara.use_state(list(DEFAULT))
    stage = session.stage
    if stage is None or not session.series:
        return
    tick_h = float(stage.experiment.tick_h)
    SeriesView(
        session.series, session.tick * tick_h, names=names, columns=2, end_h=stage.last_tick * tick_h, arms=stage.arms,
        on_names=choose,
    )  # fmt: skip
