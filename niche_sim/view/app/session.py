"""A session: one visitor's stage, what she looks at, and the thread that works for her.

Everything that changes the stage or draws it happens in that one thread, in order of request, so that the page never waits
and never meets a half-made state. The page only reads what the thread has left: pictures, charts, texts.
"""

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import solara

from niche_sim.config import Experiment, load_experiment
from niche_sim.config.editing import Change
from niche_sim.errors import InputError, NicheSimError
from niche_sim.store import Result
from niche_sim.view.app.stage import LivingStage, RecordedStage, Stage, find_cell, open_stage, tell_life
from niche_sim.view.common import name_time
from niche_sim.view.frame import OVERLAYS
from niche_sim.view.raster import Picture, paint
from niche_sim.view.scales import find_limits
from niche_sim.view.volume import paint_volume

SHORTEST_FRAME_S = 0.04  # 25 frames a second: faster renders trip over each other in the page
SLOWEST_BROWSER_S = 1.0
FIRST_STRIDE_H = 24.0
CHART_PAUSE_S = 0.5
PROGRESS_PAUSE_S = 0.25


@dataclass
class View:
    """What is looked at, apart from the stage."""

    overlay: str | None = None
    plane: int | None = None
    volume: bool = False
    azimuth: float = 35.0
    elevation: float = 25.0
    cut: int | None = None
    follow: tuple[str, int] | None = None
    limits: dict[str, tuple[float, float]] = field(default_factory=dict)


class Session:
    """One visitor.

    Attributes
    ----------
    stage : Stage or None
        None until an experiment is open.
    view : View
    pictures : dict of str to Picture
        By arm; `drawn` counts them.
    drawn, charted, changed : solara.Reactive of int
        Count new pictures, new charts and texts, new arms or experiments; a component that reads one is drawn again.
    playing, busy, trouble : solara.Reactive
        Whether it plays; what it is doing that takes time, or ""; what went wrong, or "".
    stride : solara.Reactive of int
        Ticks between two pictures.
    tick : int
        Tick of the pictures; not reactive, as it changes with `drawn` and all would be sent twice.
    """

    def __init__(self) -> None:
        self.stage: Stage | None = None
        self.view = View()
        self.pictures: dict[str, Picture] = {}
        self.series: dict[str, pd.DataFrame] = {}
        self.life: list[str] = []
        self.drawn, self.charted, self.changed = (solara.reactive(0) for _ in range(3))
        self.playing, self.busy, self.trouble = solara.reactive(False), solara.reactive(""), solara.reactive("")
        self.stride, self.tick = solara.reactive(4), 0
        self._jobs: deque[Callable[[], None]] = deque()
        self._goal: int | None = None
        self._seen: dict[str, int] = {}
        self._wake = threading.Condition()
        self._branches: dict[tuple[str, int], tuple[str, int]] = {}  # by arm and tick: the last branch, when it was made
        self._stopped = False
        self._charted_at = 0.0
        self._said_at = 0.0

    # ------------------------------------------------------------ from the page

    def start(self) -> Callable[[], None]:
        """Start the thread; returns what stops it."""
        thread = threading.Thread(target=self._work, name="niche_sim session", daemon=True)
        before = threading.stack_size(64 << 20)  # the compiler recurses deeply
        thread.start()
        threading.stack_size(before)
        return self.stop

    def stop(self) -> None:
        """End the thread after what it is doing, and let go of the stage."""
        with self._wake:
            self._stopped = True
            self._wake.notify_all()

    def ask(self, job: Callable[[], None]) -> None:
        """Have something done in the thread, after what was asked before."""
        with self._wake:
            self._jobs.append(job)
            self._wake.notify_all()

    def open(self, target: Experiment | Result) -> None:
        """Open an experiment at time 0, or a result at its first picture."""

        def job() -> None:
            self.playing.value = False
            self.busy.value = "opening"
            stage = RecordedStage(target) if isinstance(target, Result) else open_stage(target, progress=self._tell)
            self.stage, self.view, self.pictures, self._branches = stage, View(), {}, {}
            self.stride.value = max(1, round(FIRST_STRIDE_H / float(stage.experiment.tick_h)))
            self._renew()

        self.ask(job)

    def open_named(self, name: str, settings: Mapping[str, str]) -> None:
        """Open a shipped experiment by its name, with some values replaced as `--set` does."""
        self.open(load_experiment(name, sets=settings))

    def simulate(self) -> None:
        """Turn a replayed result into a living stage at the same time."""

        def job() -> None:
            if isinstance(self.stage, RecordedStage):
                self.busy.value = "computing the past of this result again"
                self.stage = self.stage.simulate(self._tell)
                self._renew()

        self.ask(job)

    def play(self, on: bool) -> None:
        """Play, or pause."""
        with self._wake:
            self.playing.value = on
            self._wake.notify_all()

    def seek(self, tick: int) -> None:
        """Go to a tick; of several requests the last one counts."""
        with self._wake:
            self._goal = tick
            self._wake.notify_all()

    def step(self, strides: int) -> None:
        """Go on, or back, by so many pictures."""

        def job() -> None:
            stage = self._on_stage()
            if strides > 0:
                stage.advance(strides * self.stride.value)
            else:
                stage.seek(max(0, stage.tick + strides * self.stride.value))
            self._draw(charts=True)

        self.ask(job)

    def look(self, **what: Any) -> None:
        """Change the view: overlay, plane, volume, azimuth, elevation, cut, follow."""

        def job() -> None:
            for name, value in what.items():
                setattr(self.view, name, value)
            self._draw(charts="follow" in what)

        self.ask(job)

    def turn(self, azimuth: float, elevation: float) -> None:
        """Turn the volume by some degrees."""

        def job() -> None:
            view = self.view
            view.azimuth = (view.azimuth + azimuth) % 360.0
            view.elevation = min(90.0, max(-90.0, view.elevation + elevation))
            if not any(waiting is not job for waiting in self._jobs):
                self._draw()

        self.ask(job)

    def adopt(self, arm: str, tick: int, change: Change) -> None:
        """Let an arm go on as in a changed experiment, from the tick that was shown when it was asked for."""

        asked = self.changed.value

        def work(stage: LivingStage) -> None:
            before = stage.experiment.resolved()  # what was asked for before may have changed it meanwhile
            branched, at = self._branches.get((arm, tick), (arm, -1))
            source = branched if asked <= at else arm  # the page did not show the branch yet: the change was meant for it
            edit = change(before | {"arms": before["arms"] | {arm: before["arms"][source]}})
            if edit.mapping is None:
                raise InputError("; ".join(edit.mistakes.values()))
            arms = edit.mapping["arms"]
            stage.seek(tick)
            changed = edit.mapping | {"arms": arms | {arm: before["arms"][arm], source: arms[arm]}}
            target = stage.adopt(source, changed)
            if target != source:
                self._branches[arm, tick] = target, self.changed.value

        self._alter(work)

    def branch(self, arm: str, tick: int) -> None:
        """Add an arm that shares the past of another up to a tick, and show both."""

        def work(stage: LivingStage) -> None:
            stage.seek(tick)
            stage.branch(arm)

        self._alter(work)

    def extend(self, length: str) -> None:
        """Give the experiment another end."""
        self._alter(lambda stage: stage.extend(length))

    def _alter(self, work: Callable[[LivingStage], Any]) -> None:
        def job() -> None:
            stage = self._on_stage()
            if isinstance(stage, LivingStage):
                self.busy.value = "preparing the arm"
                work(stage)
                self._renew()

        self.ask(job)

    def show(self, arms: list[str]) -> None:
        """Show these arms, one or two."""

        def job() -> None:
            self.busy.value = f"bringing {' and '.join(arms)} to {self.clock}"
            self._on_stage().show(arms)
            self._renew()

        self.ask(job)

    def pick(self, arm: str, y: int, x: int) -> None:
        """Follow the cell at a place, or none where there is none."""

        def job() -> None:
            cells = self._on_stage().frame(arm).cells
            shape = self._shape()
            ident = None if self.view.volume else find_cell(cells, self.plane, y, x, shape)
            self.view.follow = None if ident is None else (arm, ident)
            self._draw(charts=True)

        self.ask(job)

    def seen(self, arm: str, number: int) -> None:
        """Note that the browser shows a picture."""
        with self._wake:
            self._seen[arm] = max(number, self._seen.get(arm, 0))
            self._wake.notify_all()

    def tell_voxel(self, arm: str, y: int, x: int) -> str:
        """Return what is in a voxel of the plane that is shown."""
        stage = self.stage
        if stage is None or self.view.volume:
            return ""
        return "\n".join([f"voxel ({x}, {y})", *stage.facts(arm, self.plane, y, x)])

    @property
    def plane(self) -> int:
        """The plane that is shown."""
        planes = self._shape()[0]
        return planes // 2 if self.view.plane is None else min(max(self.view.plane, 0), planes - 1)

    @property
    def planes(self) -> int:
        """How many planes the lattice has; 1 in two dimensions."""
        return self._shape()[0]

    @property
    def clock(self) -> str:
        """Time that is shown, in words."""
        return name_time(self.tick * float(self._on_stage().experiment.tick_h))

    # ------------------------------------------------------------ in the thread

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._stopped or self._jobs or self._goal is not None or self.playing.value)
                if self._stopped:
                    break
                job = self._jobs.popleft() if self._jobs else None
                goal, self._goal = (None, self._goal) if job else (self._goal, None)
            try:
                if job is not None:
                    job()
                elif goal is not None:
                    self._go_to(goal)
                else:
                    self._play_on()
            except NicheSimError as error:
                self._fail(str(error))
            except Exception as error:  # a bug: the page says so and stays usable, the terminal has the traceback
                traceback.print_exc()
                self._fail(f"{type(error).__name__}: {error} (a defect of niche_sim; the terminal shows where)")
            if self.busy.value:
                self.busy.value = ""
        self.stage = None
        self.pictures, self.series = {}, {}

    def _fail(self, message: str) -> None:
        self.playing.value = False
        self.trouble.value = message

    def _on_stage(self) -> Stage:
        assert self.stage is not None
        return self.stage

    def _play_on(self) -> None:
        if self.stage is None:
            self.playing.value = False
            return
        began = time.perf_counter()
        more = self.stage.advance(self.stride.value)
        if not more:
            self.playing.value = False
        self._draw(charts=not more)
        number = self.drawn.value
        with self._wake:
            # At most one picture is on its way: what a slow browser cannot show is not painted.
            self._wake.wait_for(lambda: self._stopped or self._has_seen(number - 1), SLOWEST_BROWSER_S)
        time.sleep(max(0.0, SHORTEST_FRAME_S - (time.perf_counter() - began)))

    def _has_seen(self, number: int) -> bool:
        return all(self._seen.get(arm, 0) >= number for arm in self.pictures)

    def _go_to(self, goal: int) -> None:
        """Seek; ahead of what was run, in strides, so that one sees it coming and can ask for something else."""
        stage = self._on_stage()
        if isinstance(stage, LivingStage) and goal > stage.known:
            stage.seek(stage.known)
            while stage.tick < goal and self._goal is None and not self._jobs and not self._stopped:
                stage.advance(min(goal - stage.tick, max(1, stage.last_tick // 50)))
                self._draw()
        else:
            stage.seek(goal)
        self._draw(charts=True)

    def _renew(self) -> None:
        self._seen = {}
        self._draw(charts=True)
        self.changed.value += 1

    def _draw(self, charts: bool = False) -> None:
        """Paint every arm that is shown; twins share one scale, which only widens while an overlay stays."""
        stage, view = self._on_stage(), self.view
        overlay = view.overlay
        frames = {arm: stage.frame(arm, overlay) for arm in stage.shown}
        limits = self._widen(frames, overlay) if overlay and OVERLAYS[overlay].scale != "categorical" else None
        pictures = {}
        for arm, frame in frames.items():
            follow = view.follow[1] if view.follow is not None else None
            if view.volume:
                pictures[arm] = paint_volume(
                    frame, azimuth=view.azimuth, elevation=view.elevation, cut=view.cut, overlay=overlay, limits=limits,
                    follow=follow,
                )  # fmt: skip
            else:
                pictures[arm] = paint(frame, plane=self.plane, overlay=overlay, limits=limits, follow=follow)
        self.pictures = pictures
        self.tick = stage.tick
        now = time.monotonic()
        if charts or now - self._charted_at > CHART_PAUSE_S:
            self._charted_at = now
            self.series = {arm: stage.series(arm) for arm in stage.shown}
            self.life = tell_life(stage, *view.follow) if view.follow and view.follow[0] in stage.shown else []
            self.charted.value += 1
        self.drawn.value += 1

    def _widen(self, frames: dict[str, Any], overlay: str) -> tuple[float, float] | None:
        ends = [find_limits(frame, overlay) for frame in frames.values()]
        ends = [pair for pair in [*ends, self.view.limits.get(overlay, (0.0, 0.0))] if pair[1] > 0]
        if not ends:
            return None
        self.view.limits[overlay] = min(pair[0] for pair in ends), max(pair[1] for pair in ends)
        return self.view.limits[overlay]

    def _shape(self) -> tuple[int, int, int]:
        stage = self._on_stage()
        return stage.shape

    def _tell(self, event: str, **info: Any) -> None:
        """Say how far an opening is."""
        now = time.monotonic()
        if event == "compiling":
            self.busy.value = "compiling the engine: once after each installation or update, about half a minute"
        elif event == "advance" and now - self._said_at > PROGRESS_PAUSE_S:
            self._said_at = now
            self.busy.value = f"remodelling the bone before the start: {name_time(info['time_h'])}"
