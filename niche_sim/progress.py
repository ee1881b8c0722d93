"""What a waiting user sees: bars on a terminal, a few lines elsewhere, nothing when quiet."""

import threading
import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from niche_sim.errors import Interrupted

HOURS_PER_YEAR = 365.25 * 24.0
_MILESTONES = 4
_COMPILING = "compiling the engine: once after each installation or update, about half a minute"
_COMPILING_AGAIN = "compiling the engine, for this run only: no cache folder can be written (set NICHE_SIM_CACHE)"


def format_time(hours: float) -> str:
    """Return simulated time as people say it: hours, days or years."""
    if abs(hours) < 24.0:
        return f"{hours:.0f} h"
    if abs(hours) < HOURS_PER_YEAR:
        return f"{hours / 24.0:.0f} d"
    return f"{hours / HOURS_PER_YEAR:.2f} yr"


class ProgressReport:
    """Show the progress of a run; call it as `report(event, **info)` from any thread.

    Parameters
    ----------
    quiet : bool
        Show nothing at all.
    console : rich.console.Console, optional
        Where to show it; standard error by default.
    """

    def __init__(self, *, quiet: bool = False, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._quiet = quiet
        self._live = not quiet and self._console.is_terminal
        self._tasks: dict[str, TaskID] = {}
        self._totals: dict[str, float] = {}
        self._shown: dict[str, int] = {}
        self._began: dict[str, float] = {}
        self._guard = threading.Lock()
        self._stopping = threading.Event()
        self._bars = Progress(
            TextColumn("{task.description:<16}"), BarColumn(bar_width=32),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[clock]}"), TextColumn("time left"), TimeRemainingColumn(compact=True),
            console=self._console, disable=not self._live,
        )  # fmt: skip

    def __enter__(self) -> "ProgressReport":
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def stop(self) -> None:
        """Make every thread that reports end at its next report."""
        self._stopping.set()

    def say(self, text: str) -> None:
        """Show one line above the bars, unless quiet."""
        if not self._quiet:
            self._bars.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def __call__(self, event: str, **info: Any) -> None:
        """Take one event: compiling; start (arm, total_h); advance (arm, time_h); done (arm).

        Raises
        ------
        Interrupted
            `stop` was called: the thread of every arm ends at its next report.
        """
        if self._stopping.is_set():
            raise Interrupted("stopped; nothing unfinished was kept")
        if self._quiet:
            return
        with self._guard:
            if event == "compiling":
                self.say(_COMPILING_AGAIN if info.get("temporary") else _COMPILING)
            elif event == "start":
                self._start(str(info["arm"]), float(info["total_h"]))
            elif event == "advance":
                self._advance(str(info["arm"]), float(info["time_h"]))
            elif event == "done":
                self._finish(str(info["arm"]))

    def _start(self, arm: str, total_h: float) -> None:
        self._totals[arm], self._shown[arm], self._began[arm] = total_h, 0, time.monotonic()
        if self._live:
            self._tasks[arm] = self._bars.add_task(arm, total=total_h, clock=self._clock(arm, 0.0))
        else:
            self.say(f"{arm}: started, {format_time(total_h)} to simulate")

    def _clock(self, arm: str, time_h: float) -> str:
        if time_h < 0.0:
            return f"settling, {format_time(-time_h)} to go"
        return f"{format_time(time_h)} of {format_time(self._totals[arm])}"

    def _advance(self, arm: str, time_h: float) -> None:
        if arm not in self._totals:
            return
        if self._live:
            self._bars.update(self._tasks[arm], completed=max(0.0, time_h), clock=self._clock(arm, time_h))
            return
        total = self._totals[arm]
        reached = int(_MILESTONES * time_h / total) if total > 0.0 else _MILESTONES
        if self._shown[arm] < reached < _MILESTONES:
            self._shown[arm] = reached
            self.say(f"{arm}: {self._clock(arm, time_h)}")

    def _finish(self, arm: str) -> None:
        if arm not in self._totals:
            return
        if self._live:
            total = self._totals[arm]
            self._bars.update(self._tasks[arm], completed=total, clock=self._clock(arm, total))
        else:
            self.say(f"{arm}: done in {time.monotonic() - self._began[arm]:.0f} s")
