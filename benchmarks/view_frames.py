"""Frames a second of what one watches, without a browser: `python benchmarks/view_frames.py`.

A frame is a tick of one arm, a copy of what it shows, and its picture as PNG. The patches hold some 2,000 and 12,500
cells; the third is a stack, seen from a side.
"""

import platform
import time
from pathlib import Path

import numpy as np

import niche_sim as ns
from niche_sim.player import open_players
from niche_sim.view.frame import take_frame
from niche_sim.view.raster import paint
from niche_sim.view.volume import paint_volume

SCENES = {
    "200 x 200": ("e00_zoledronate_niche", '["4 mm", "4 mm"]', "60 d"),
    "500 x 500": ("e00_zoledronate_niche", '["10 mm", "10 mm"]', "30 d"),
    "64 x 64 x 64": ("niche_3d", '["1.28 mm", "1.28 mm", "1.28 mm"]', "6 d"),
}
OVERLAYS = (None, "rankl", "suitability", "drug_surface")
FRAMES = 40


def name_machine():
    """Return processor and Python."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.machine()}, Python {platform.python_version()}, one core"


def measure(player, overlay, solid):
    """Return the median milliseconds of a tick, of taking the frame and of painting it."""
    times = []
    for _ in range(FRAMES):
        moments = [time.perf_counter()]
        player.advance(1)
        moments.append(time.perf_counter())
        run = player.run
        frame = take_frame(player.state, run.rates, run.plan.world, arm=player.arm, time_h=player.time_h, overlay=overlay)
        moments.append(time.perf_counter())
        (paint_volume if solid else paint)(frame, overlay=overlay)
        times.append(np.diff([*moments, time.perf_counter()]))
    return 1e3 * np.median(times, axis=0)


def main():
    """Print a line a patch and overlay."""
    print(name_machine())
    print(f"{'voxels':13} {'cells':>6} {'overlay':13} {'tick':>7} {'frame':>6} {'paint':>6}  ms   frames/s")
    for name, (experiment, size, spin_up) in SCENES.items():
        sets = {
            "scene.size": size, "time.spin_up": spin_up, "population.dormant_dtc": "200", "population.cycling_dtc": "60",
            "record.fields": "false", "record.pictures": "false", "record.ledgers": "false",
        }  # fmt: skip
        player = open_players(ns.load_experiment(experiment, sets=sets))["zoledronate"]
        player.advance(4)
        for overlay in OVERLAYS:
            parts = measure(player, overlay, solid="x 64 x" in name)
            cells, rate = int(player.state.living[0]), 1e3 / parts.sum()
            print(f"{name:13} {cells:6,} {overlay or '-':13} {parts[0]:7.1f} {parts[1]:6.1f} {parts[2]:6.1f} {rate:14.0f}")


if __name__ == "__main__":
    main()
