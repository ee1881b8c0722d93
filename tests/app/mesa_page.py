"""A page of Mesa's own `SolaraViz` over a `NicheModel`, as a modeller writes it."""

from pathlib import Path

import solara
from mesa.visualization import SolaraViz, make_plot_component

from niche_sim.model import NicheModel
from niche_sim.view.app.components import make_lattice_component

LIVELY = str(Path(__file__).parent.parent / "lively.yaml")
CHOSEN = {"experiment": LIVELY, "arm": "treated", "settings": {"time.spin_up": "2 d", "time.length": "10 d"}}
COMPONENTS = [make_lattice_component("suitability"), make_plot_component("osteoclasts")]


@solara.component
def Page() -> None:
    model = solara.use_memo(lambda: NicheModel(**CHOSEN), [])
    SolaraViz(model, components=list(COMPONENTS), model_params=CHOSEN, play_interval=60, name="niche")
