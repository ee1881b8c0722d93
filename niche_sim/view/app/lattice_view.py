"""The picture of a lattice in the browser: zoom, move, point at a voxel, turn a volume; a raster in, events out."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import solara

if TYPE_CHECKING:
    from niche_sim.view.raster import Picture
    from niche_sim.view.scales import Bar


class Tip(TypedDict):
    """What is told of a voxel; it is shown while the pointer is there."""

    y: int
    x: int
    text: str


@solara.component_vue("lattice.vue", vuetify=False)
def _Lattice(
    picture: dict, arm: str, time: str, voxel_um: float | None, mode: str, link: str, tip: Tip | None, legend: list,
    bar: dict | None, event_hover: Callable, event_pick: Callable, event_rotate: Callable, event_shown: Callable,
) -> None: ...  # fmt: skip


def LatticeView(  # a component, so its name is one
    picture: "Picture", *, frame: int, arm: str, time: str, voxel_um: float | None = None,
    mode: Literal["pan", "rotate"] = "pan", link: str = "", tip: Tip | None = None,
    on_hover: Callable[[int, int], None] | None = None, on_leave: Callable[[], None] | None = None,
    on_pick: Callable[[int, int], None] | None = None, on_rotate: Callable[[float, float], None] | None = None,
    on_shown: Callable[[int], None] | None = None,
) -> solara.Element:  # fmt: skip
    """Show one picture; give it again with the next frame.

    The browser decodes a frame aside, swaps it in at once, and then reports its number; of frames that come meanwhile only
    the newest is kept. A sender that waits until `on_shown` was called for the frame before last never lags behind.

    Parameters
    ----------
    picture : Picture
        `scale` pixels a voxel.
    frame : int
        Its number, different for every picture.
    arm, time : str
        Caption, and what a screen reader says.
    voxel_um : float, optional
        Edge of a voxel (um), for the scale bar; none without.
    mode : {"pan", "rotate"}
        Dragging moves the lattice, or turns a volume.
    link : str
        Pictures of one link, not "", share zoom, place and cross-hair (matched arms side by side).
    tip : Tip, optional
        Shown at its voxel while the pointer is there; until it comes, the place of the voxel.
    on_hover, on_pick : callable of (y, x), optional
        The pointer entered this voxel (at most every 80 ms); it was clicked.
    on_leave : callable, optional
        The pointer left the picture.
    on_rotate : callable of (azimuth, elevation), optional
        Turned by this much (degrees; at most every 50 ms), in mode "rotate".
    on_shown : callable of int, optional
        This frame is on the screen.
    """

    def hover(voxel: dict | None) -> None:
        if voxel is None:
            _call(on_leave)
        else:
            _call(on_hover, int(voxel["y"]), int(voxel["x"]))

    return _Lattice(
        picture={
            "png": picture.png, "frame": frame, "width": picture.width, "height": picture.height,
            "rows": max(1, picture.height // picture.scale), "columns": max(1, picture.width // picture.scale),
        },
        arm=arm, time=time, voxel_um=voxel_um, mode=mode, link=link, tip=tip,
        legend=[list(entry) for entry in picture.legend], bar=_plain_bar(picture.bar),
        event_hover=hover,
        event_pick=lambda voxel: _call(on_pick, int(voxel["y"]), int(voxel["x"])),
        event_rotate=lambda turn: _call(on_rotate, float(turn["azimuth"]), float(turn["elevation"])),
        event_shown=lambda number: _call(on_shown, int(number)),
    )  # fmt: skip


def _call(listener: Callable[..., None] | None, *arguments: Any) -> None:
    if listener is not None:
        listener(*arguments)


def _plain_bar(bar: "Bar | None") -> dict | None:
    if bar is None:
        return None
    ticks = [[place, text] for place, text in bar.ticks]
    colours = list(bar.colours) * (1 if len(bar.colours) > 1 else 2)  # a gradient needs two
    return {"label": bar.label, "unit": bar.unit, "colours": colours, "ticks": ticks}
