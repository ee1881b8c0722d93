"""Films of a stored result: arms side by side, the clock, what the colours mean, and the series with a mark that moves.

What stays the same is drawn once, by matplotlib; each picture is that background with the painted patches, the clock, the
counts and the marks put in. Nothing is simulated.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw, ImageFont

from niche_sim.errors import InputError
from niche_sim.kinds import CYCLING, DORMANT, DTC, FIELD_NAMES, TERM_NAMES
from niche_sim.store import Result, replace_file
from niche_sim.store.folder import explain
from niche_sim.view import palette, volume
from niche_sim.view.common import HOURS_PER_DAY, HOURS_PER_YEAR, STYLE, choose_bar_um, list_regimens
from niche_sim.view.encoding import Encoder, Gif, Mp4
from niche_sim.view.frame import Frame, find_overlay, list_frames, read_frame
from niche_sim.view.palette import FAINT, INK
from niche_sim.view.raster import UNIT, paint_rgb
from niche_sim.view.scales import DECADES, Bar, build_bar, find_limits
from niche_sim.view.series import smooth, split_arms, time_axis

SIZES = {1: 800, 2: 620, 3: 480}  # pixels of a patch by the number of arms in a row
MOST_IN_A_ROW = 4
MOST_SIDE = 4096  # pixels that H.264 is decoded at everywhere
SECONDS = 14  # that a film lasts if told nothing, between 2 and 25 pictures a second
TURN = 50.0  # degrees that a stack turns during a film
STRIP = {
    "dormant": "dormant DTCs", "cycling": "cycling DTCs", "osteoclasts": "osteoclasts",
    "bone_change": "bone volume, % change",
}  # fmt: skip
HEAD, NAME, COUNTS, KEY, COURSE, SIDE, GAP, BAR = 66, 44, 28, 28, 122, 22, 14, 112  # pixels


class Mark(NamedTuple):
    """Where the moving mark of one strip runs: pixels of time 0, pixels an hour, and its ends."""

    start: float
    per_hour: float
    top: int
    bottom: int


@dataclass
class Film:
    """The pictures of a film, drawn when asked for.

    Attributes
    ----------
    result : Result
    arms : list of str
    overlay : str or None
    limits : (float, float) or None
        Scale of the overlay, the same in all pictures of all arms.
    plane : int or None
    in_volume : bool
    size : int
        Pixels of the longer side of a patch.
    times_h : ndarray
        Of the pictures.
    """

    result: Result
    arms: list[str]
    overlay: str | None
    limits: tuple[float, float] | None
    plane: int | None
    in_volume: bool
    size: int
    times_h: np.ndarray

    def __post_init__(self) -> None:
        first = read_frame(self.result, self.arms[0], 0, overlay=self.overlay)
        patch = self._paint(first, 0)
        self.patch = patch.shape[:2]
        self.columns = min(len(self.arms), MOST_IN_A_ROW)
        self.background, self.corners, self.marks = self._draw_background(first)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels, both even."""
        return self.background.shape[0], self.background.shape[1]

    def draw(self, index: int) -> np.ndarray:
        """Return one picture: uint8, shape (height, width, 3)."""
        image = self.background.copy()
        frames = [read_frame(self.result, arm, index, overlay=self.overlay) for arm in self.arms]
        height, width = self.patch
        for frame, (top, left) in zip(frames, self.corners):
            image[top : top + height, left : left + width] = self._paint(frame, index)
        picture = Image.fromarray(image)
        pen = ImageDraw.Draw(picture)
        time_h = float(self.times_h[index])
        clock = name_clock(time_h, float(self.times_h[-1]))
        pen.text((self.shape[1] - SIDE, 14), clock, INK, load_font(26, bold=True), anchor="ra")
        for frame, (top, left) in zip(frames, self.corners):
            pen.text((left + width // 2, top + height + 6), describe(frame), INK, load_font(13), anchor="ma")
        self._draw_scale(pen, frames[0])
        for mark in self.marks:
            x = mark.start + mark.per_hour * time_h
            pen.line([(x, mark.top), (x, mark.bottom)], INK, 2)
            pen.ellipse([x - 4, mark.top - 4, x + 4, mark.top + 4], INK)
        return np.asarray(picture)

    def _paint(self, frame: Frame, index: int) -> np.ndarray:
        if self.in_volume:
            turned = 30.0 + TURN * index / max(len(self.times_h) - 1, 1)
            return volume.paint_volume_rgb(
                frame, azimuth=turned, elevation=28.0, size=self.size, overlay=self.overlay, limits=self.limits
            )
        scale = max(1, round(self.size / max(frame.maps["mineral"].shape[1:])))
        return paint_rgb(frame, plane=self.plane, overlay=self.overlay, limits=self.limits, scale=scale)

    def _draw_scale(self, pen: ImageDraw.ImageDraw, frame: Frame) -> None:
        """Draw a bar of a round length into the first patch."""
        shape = frame.maps["mineral"].shape
        per_voxel = volume.measure_scale(shape, self.size) if self.in_volume else self.patch[1] / shape[2]
        length = choose_bar_um(self.patch[1] / per_voxel * frame.voxel_um) or frame.voxel_um
        (top, left), across = self.corners[0], length / frame.voxel_um * per_voxel
        x, y = left + 14, top + self.patch[0] - 16
        pen.rectangle([x - 6, y - 22, x + max(across, 54) + 6, y + 9], "#ffffff")
        pen.rectangle([x, y, x + across, y + 3], INK)
        name = f"{length:g} µm" if length < 1000 else f"{length / 1000:g} mm"
        pen.text((x, y - 4), name, INK, load_font(13), anchor="ls")

    # ------------------------------------------------------------ what stays the same

    def _draw_background(self, first: Frame) -> tuple[np.ndarray, list[tuple[int, int]], list[Mark]]:
        rows, (height, width) = -(-len(self.arms) // self.columns), self.patch
        bar = self._find_bar()
        across = 2 * SIDE + self.columns * width + (self.columns - 1) * GAP + (BAR if bar else 0)
        keys = self._list_keys()
        per_line = max(1, (across - 2 * SIDE) // 175)
        key_height = KEY * -(-len(keys) // per_line)
        courses = split_arms(self.result)
        down = HEAD + rows * (NAME + height + COUNTS) + key_height + 8 + (COURSE + 34 if courses else 0)
        across, down = across + across % 2, down + down % 2
        if max(across, down) > MOST_SIDE:
            raise InputError(
                f"--size: the film would be {across} x {down} pixels, at most {MOST_SIDE} a side; ask for less or fewer arms"
            )
        corners = [
            (HEAD + (i // self.columns) * (NAME + height + COUNTS) + NAME, SIDE + (i % self.columns) * (width + GAP))
            for i in range(len(self.arms))
        ]
        with matplotlib.rc_context(STYLE):
            figure = Figure(figsize=(across / 100, down / 100), dpi=100)
            canvas = FigureCanvasAgg(figure)
            self._write_headings(figure, corners, first)
            under = down - key_height - (COURSE + 34 if courses else 0) - 4
            columns = min(per_line, len(keys))
            figure.legend(
                handles=keys, loc="upper left", bbox_to_anchor=((SIDE - 8) / across, 1 - under / down), ncols=columns,
                frameon=False, fontsize=9.5, handletextpad=0.4, columnspacing=1.6, borderaxespad=0,
            )  # fmt: skip
            if bar:
                _draw_bar(figure, bar, (HEAD + NAME, across - BAR + 12, min(height, 420)))
            axes = self._draw_courses(figure, down - COURSE - 26) if courses else []
            canvas.draw()
            image = np.asarray(canvas.buffer_rgba())[..., :3].copy()
            marks = [_find_mark(ax, time_axis(courses)[0], image.shape[0]) for ax in axes]
        return image, corners, marks

    def _write_headings(self, figure: Figure, corners: list[tuple[int, int]], first: Frame) -> None:
        across, down = figure.get_size_inches() * 100
        shape = [edge * first.voxel_um / 1000 for edge in first.maps["mineral"].shape[::-1]]
        size = " × ".join(f"{edge:.3g}" for edge in (shape if shape[2] > first.voxel_um / 1000 else shape[:2]))
        depth = first.maps["mineral"].shape[0]
        where = "" if self.in_volume or depth == 1 else f", plane {depth // 2 if self.plane is None else self.plane}"
        note = f"one patch of {size} mm, voxel {first.voxel_um:g} µm{where}; cells are drawn larger than they are"
        if self.overlay in FIELD_NAMES and not np.isin(self.times_h, self.result.field_times_h(self.arms[0])).all():
            note += f"; {find_overlay(self.overlay).label} as last recorded"
        title = str(self.result.manifest.get("title") or self.result.manifest["name"])
        longest = max(20, int((across - 190) / 10.5))
        title = title if len(title) <= longest else title[: longest - 1] + "…"
        figure.text(SIDE / across, 1 - 12 / down, title, fontsize=13.5, fontweight="bold", va="top")
        figure.text(SIDE / across, 1 - 38 / down, note, fontsize=9, color=FAINT, va="top")
        regimens = list_regimens(self.result)
        for arm, (top, left) in zip(self.arms, corners):
            look = palette.pick_arm(self.result.arms.index(arm))
            figure.text(left / across, 1 - (top - 26) / down, arm, fontsize=12, fontweight="bold", color=look["color"])
            text, room = regimens[arm], max(12, int(self.patch[1] / 6.6))
            text = text if len(text) <= room else text[: room - 1] + "…"
            figure.text(left / across, 1 - (top - 8) / down, text, fontsize=9, color=FAINT)

    def _list_keys(self) -> list[Line2D | Patch]:
        """Return the legend: every kind of cell that is recorded in these arms, the tissues, the classes of the overlay."""
        cells = self.result.cells
        cells = cells[cells["arm"].isin(self.arms)] if len(cells) else cells
        present = set(cells["kind"]) | set(cells["state"]) if len(cells) else set()
        looks = [look for look in palette.CELLS if look in present and (not self.in_volume or look in volume.BALLS)]
        handles: list[Line2D | Patch] = [
            Line2D([], [], linestyle="none", marker="o", markersize=7, color=palette.CELLS[look].colour,
                   markeredgecolor="white", label=palette.CELLS[look].label)
            for look in looks
        ]  # fmt: skip
        tissues = {"bone": volume.SOLID, "sinusoid": volume.VESSEL}
        if not self.in_volume:
            tissues = {"bone": palette.BONE, "bone laid since time 0": palette.NEW_BONE, "sinusoid": palette.SINUSOID}
        if self.overlay == "bmu":
            tissues["remodelling unit"] = UNIT
        if self.overlay == "limiting_term":
            tissues |= {f"limit: {palette.TERMS[name].label}": palette.TERMS[name].colour for name in TERM_NAMES}
        return handles + [Patch(facecolor=colour, label=label) for label, colour in tissues.items()]

    def _find_bar(self) -> Bar | None:
        return build_bar(find_overlay(self.overlay), self.limits) if self.overlay and self.limits else None

    def _draw_courses(self, figure: Figure, top: int) -> list:
        """Draw the main series of the arms into the strip, a panel each; return the axes."""
        frames = {arm: frame for arm, frame in split_arms(self.result).items() if arm in self.arms}
        scale, unit = time_axis(frames)
        across, down = figure.get_size_inches() * 100
        room = across - 2 * SIDE
        shown = [name for name in STRIP if any(name in frame and frame[name].any() for frame in frames.values())]
        shown = shown[: max(1, int(room // 230))]
        axes = []
        for i, name in enumerate(shown):
            left, width = SIDE + 34 + i * room / len(shown), room / len(shown) - 50
            ax = figure.add_axes((left / across, 1 - (top + COURSE - 32) / down, width / across, (COURSE - 50) / down))
            for arm, frame in frames.items():
                look = palette.pick_arm(self.result.arms.index(arm))
                ax.plot(frame["time_h"] / scale, smooth(frame, name), linewidth=1.6, **look)
            ax.set_title(STRIP[name], fontsize=10, loc="left", pad=7)
            ax.spines[["top", "right"]].set_visible(False)
            ax.yaxis.set_major_locator(MaxNLocator(3, integer=name != "bone_change"))
            ax.set_xlabel(unit, fontsize=8.5, color=FAINT, labelpad=1)
            ax.set_xlim(0, self.result.length_h / scale)
            if name != "bone_change":
                ax.set_ylim(0, max(ax.get_ylim()[1], 1.0))
            axes.append(ax)
        return axes


def _draw_bar(figure: Figure, bar: Bar, box: tuple[int, int, int]) -> None:
    top, left, height = box
    across, down = figure.get_size_inches() * 100
    ax = figure.add_axes((left / across, 1 - (top + height) / down, 16 / across, height / down))
    ramp = np.stack([palette.read_rgb(colour) for colour in bar.colours[::-1]])[:, None]
    ax.imshow(ramp, aspect="auto", extent=(0, 1, 0, 1), interpolation="bilinear")
    ax.yaxis.tick_right()
    ax.set_xticks([])
    ax.set_yticks([place for place, _ in bar.ticks], [text for _, text in bar.ticks])
    ax.tick_params(length=2, pad=2)
    ax.spines[:].set_visible(False)
    unit = f" ({bar.unit})" if bar.unit else ""
    place = (left + 74) / across, 1 - (top + height / 2) / down
    figure.text(*place, bar.label + unit, rotation=90, va="center", fontsize=9.5, color=FAINT)


def _find_mark(ax: matplotlib.axes.Axes, hours: float, height: int) -> Mark:
    low, high = ax.get_ylim()
    first, later = ax.transData.transform([(0.0, low), (1.0, high)])
    return Mark(float(first[0]), float(later[0] - first[0]) / hours, round(height - later[1]), round(height - first[1]))


@cache
def load_font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return the font that matplotlib brings, so that it is there on every machine."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


def name_clock(time_h: float, last_h: float) -> str:
    """Return a time in the unit that suits the whole film, always as wide."""
    if last_h < 3 * HOURS_PER_DAY:
        return f"hour {time_h:.0f}"
    if last_h < 300 * HOURS_PER_DAY:
        return f"day {time_h / HOURS_PER_DAY:.0f}"
    return f"year {time_h / HOURS_PER_YEAR:.2f}"


def describe(frame: Frame) -> str:
    """Return the counts under a patch."""
    tumour = frame.cells.kind == DTC
    dormant, cycling = (int((tumour & (frame.cells.mode == mode)).sum()) for mode in (DORMANT, CYCLING))
    return f"DTCs: {dormant} dormant, {cycling} cycling  ·  bone {100 * float(frame.maps['mineral'].mean()):.1f} %"


# ---------------------------------------------------------------- making one


def build_film(
    result: Result, *, arms: Sequence[str] = (), overlay: str | None = None, plane: int | None = None,
    in_volume: bool = False, size: int | None = None,
) -> Film:  # fmt: skip
    """Return the film of a result.

    Parameters
    ----------
    result : Result
    arms : sequence of str
        By default all.
    overlay : str, optional
        A name of OVERLAYS.
    plane : int, optional
        Of a stack; the middle one by default.
    in_volume : bool
        Show a stack from a side, turning slowly, instead of a plane.
    size : int, optional
        Pixels of the longer side of a patch, about; by default so that the arms fit on a screen.

    Raises
    ------
    InputError
        Fewer than two pictures were recorded, or an argument is not possible.
    """
    chosen = list(dict.fromkeys(arms)) or result.arms
    times = [list_frames(result, arm) for arm in chosen]
    if min(len(held) for held in times) < 2:
        count = min(len(held) for held in times)
        recorded = f"{count or 'no'} {'picture was' if count == 1 else 'pictures were'} recorded"
        raise InputError(
            f"{result.directory}: {recorded}, a film needs two or more; run again with one a week, say: "
            '--set "record.pictures=7 d"'
        )
    limits = _hold_limits(result, chosen, overlay, len(times[0]))
    size = size or SIZES.get(min(len(chosen), MOST_IN_A_ROW), 420)
    return Film(result, chosen, overlay, limits, plane, in_volume, size, times[0])


def _hold_limits(result: Result, arms: Sequence[str], overlay: str | None, count: int) -> tuple[float, float] | None:
    """Return one scale for all pictures of all arms, that of the brightest of some twenty of each."""
    if overlay is None or find_overlay(overlay).scale == "categorical":
        return None
    some = np.unique(np.linspace(0, count - 1, min(count, 20)).round().astype(int))
    found = [find_limits(read_frame(result, arm, int(i), overlay=overlay), overlay) for arm in arms for i in some]
    shown = [limits for limits in found if limits[1] > 0]
    if not shown:
        return 0.0, 0.0
    low, high = min(low for low, _ in shown), max(high for _, high in shown)
    return (max(low, high / 10**DECADES) if low > 0.0 else low), high


def choose_fps(count: int) -> int:
    """Return the pictures a second at which a film of so many lasts about SECONDS."""
    return int(np.clip(round(count / SECONDS), 2, 25))


def write_film(
    film: Film, targets: Sequence[Path], fps: int | None = None, report: Callable[[int, int], None] | None = None
) -> None:
    """Write a film into one or more files, each whole or not at all; the suffix tells the format.

    Parameters
    ----------
    film : Film
    targets : sequence of Path
        Ending in .mp4 or .gif.
    fps : int, optional
        Pictures a second.
    report : callable, optional
        Called with the pictures drawn so far and their number.

    Raises
    ------
    InputError
        The encoder of MP4 is not installed.
    ResourceError
        The disk is full; a film that was there stays.
    """
    count = len(film.times_h)
    fps = fps or choose_fps(count)
    try:
        for path in targets:
            path.parent.mkdir(parents=True, exist_ok=True)
        scratch = TemporaryDirectory(prefix=".film-", dir=targets[0].parent, ignore_cleanup_errors=True)
    except OSError as error:
        raise explain(error, targets[0]) from error
    with scratch as folder:
        encoders = [_open_encoder(film, path, fps, Path(folder)) for path in targets]
        for index in range(count):
            picture = film.draw(index)
            for encoder in encoders:
                encoder.add(picture)
            if report:
                report(index + 1, count)
        for path, encoder in zip(targets, encoders):
            if isinstance(encoder, Mp4):
                for _ in range(fps):  # a second to see how it ended
                    encoder.add(picture)
            replace_file(path, encoder.finish())


def _open_encoder(film: Film, path: Path, fps: int, scratch: Path) -> Encoder:
    height, width = film.shape
    if path.suffix.lower() == ".mp4":
        return Mp4(scratch / path.name, width, height, fps)
    count = len(film.times_h)
    exact = [255 * palette.read_rgb(mark.colour) for mark in palette.CELLS.values()]
    exact += [255 * palette.read_rgb(colour) for colour in (*palette.ARMS, palette.MARROW, palette.BONE, INK, "#ffffff")]
    return Gif([film.draw(i) for i in sorted({0, count // 2, count - 1})], np.round(exact), count, fps)
