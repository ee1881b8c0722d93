"""The lattice as a component of Mesa's own `SolaraViz`."""

from collections.abc import Callable

import solara
from mesa.visualization.utils import update_counter

from niche_sim.model import NicheModel
from niche_sim.view.app.lattice_view import LatticeView
from niche_sim.view.common import name_time
from niche_sim.view.frame import find_overlay, take_frame
from niche_sim.view.raster import paint


def make_lattice_component(overlay: str | None = None, plane: int | None = None) -> Callable[[NicheModel], solara.Element]:
    """Return a component that shows the lattice of a `NicheModel` as one raster, not a mark a cell.

    Parameters
    ----------
    overlay : str, optional
        A name of `niche_sim.view.frame.OVERLAYS`.
    plane : int, optional
        Of a stack; the middle one by default.

    Raises
    ------
    InputError
        There is no such overlay.

    Examples
    --------
    >>> from mesa.visualization import SolaraViz, make_plot_component  # doctest: +SKIP
    >>> lattice, counts = make_lattice_component("suitability"), make_plot_component("cycling")  # doctest: +SKIP
    >>> SolaraViz(NicheModel(arm="control"), components=[lattice, counts], play_interval=50)  # doctest: +SKIP
    """
    if overlay is not None:
        find_overlay(overlay)

    @solara.component
    def Lattice(model: NicheModel) -> None:
        number = update_counter.get()
        player = model.player
        with player.lock:
            run = player.run
            frame = take_frame(
                player.state, run.rates, run.plan.world, arm=model.arm, time_h=model.time_h, overlay=overlay
            )
        LatticeView(
            paint(frame, plane=plane, overlay=overlay), frame=number + model.steps, arm=model.arm,
            time=name_time(model.time_h), voxel_um=frame.voxel_um,
        )  # fmt: skip

    return Lattice
