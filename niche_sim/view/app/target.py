"""What the viewer shows: set once, before the server starts, the same for every tab, and never changed after."""

from dataclasses import dataclass

from niche_sim.config import Experiment
from niche_sim.store import Result


@dataclass(frozen=True)
class Target:
    """An experiment to simulate, or a result to replay.

    Attributes
    ----------
    subject : Experiment or Result
        Checked.
    """

    subject: Experiment | Result

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return self.subject.name if isinstance(self.subject, Experiment) else str(self.subject.manifest["name"])


_set: list[Target] = []


def set(subject: Experiment | Result) -> None:
    """Say what every page shows; only before the server starts."""
    _set[:] = [Target(subject)]


def get() -> Target:
    """Return what was set; a page gives each tab a session of its own over it."""
    if not _set:
        raise RuntimeError("no target was set before the page was opened")
    return _set[0]
