"""A page with two linked lattice pictures and a volume, for the tests of the component in a browser."""

import io
from types import SimpleNamespace

import numpy as np
import solara
from PIL import Image

from niche_sim.view.app.lattice_view import LatticeView

N, SCALE = 50, 4
BAR = SimpleNamespace(
    label="zoledronate on bone", unit="fmol/um²", low=0, high=1, colours=["#bfe0ff", "#2f9bff", "#0037b3"],
    ticks=[(0.0, "0"), (0.5, "0.5"), (1.0, "1")],
)  # fmt: skip


def paint(frame: int) -> SimpleNamespace:
    """Return a picture of N x N voxels: marrow, a trabecula, a tumour cell at (10, 20), and a stripe that moves."""
    voxels = np.zeros((N, N), np.uint8)
    voxels[30:36, 5:45] = 1
    voxels[:, frame % N] = 2
    voxels[10, 20] = 3
    image = Image.fromarray(voxels.repeat(SCALE, 0).repeat(SCALE, 1), mode="P")
    image.putpalette([253, 246, 238, 201, 189, 164, 86, 180, 233, 214, 39, 40])
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    legend = [("marrow", "#fdf6ee"), ("bone", "#c9bda4"), ("cycling DTC", "#D62728")]
    return SimpleNamespace(png=file.getvalue(), width=N * SCALE, height=N * SCALE, scale=SCALE, legend=legend, bar=BAR)


@solara.component
def Page() -> None:
    """Pictures, a button that sends the next frame, one that sends many, and what was heard."""
    frame, set_frame = solara.use_state(0)
    tip, set_tip = solara.use_state(None)
    heard, set_heard = solara.use_state("")
    shown = solara.use_ref(0)
    playing, set_playing = solara.use_state(False)

    def play(cancel) -> None:
        sent = frame
        while playing and not cancel.is_set():
            if shown.current < sent - 1 and not cancel.wait(0.002):
                continue
            sent += 1
            set_frame(sent)
            cancel.wait(0.005)

    def note(number: int) -> None:
        shown.current = number

    solara.use_thread(play, dependencies=[playing])
    picture = solara.use_memo(lambda: paint(frame), [frame])
    solara.Style(".solara-content-main {padding: 8px}")
    with solara.Row(classes=["buttons"]):
        solara.Button("next frame", on_click=lambda: set_frame(frame + 1))
        solara.Button("stop" if playing else "play", on_click=lambda: set_playing(not playing))
    with solara.Columns([1, 1]):
        for arm in ("control", "zoledronate"):
            LatticeView(
                picture, frame=frame, arm=arm, time=f"day {frame}", voxel_um=10, link="arms", tip=tip, on_shown=note,
                on_hover=lambda y, x: set_tip({"y": y, "x": x, "text": f"in voxel {y}, {x}\nnothing lives here"}),
                on_pick=lambda y, x: set_heard(f"picked {y} {x}"), on_leave=lambda: set_heard("left"),
            )  # fmt: skip
    LatticeView(
        picture, frame=frame, arm="volume", time=f"day {frame}", mode="rotate",
        on_rotate=lambda azimuth, elevation: set_heard(f"turned {azimuth:.1f} {elevation:.1f}"),
    )  # fmt: skip
    solara.Text(heard, classes=["heard"])
