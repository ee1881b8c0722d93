"""Batches on the workers of a Dask scheduler: on this machine, or on as many as there are."""

import pickle
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from niche_sim.errors import InputError, ResourceError
from niche_sim.study.clusters import Place, Say
from niche_sim.study.execute import DIED, Outcome, Work, WorkerDied, flatten

if TYPE_CHECKING:
    from distributed import Client, Future

    from niche_sim.study.work import Task

AHEAD = 2
"""Batches in flight for each thread of a worker: the one it works on, and the one it begins while we write a file."""

_LOOK_EVERY_S = 5.0
_SOURCES = "sources of niche_sim"


class DaskExecutor:
    """Runs batches on the workers of a place.

    Dask runs the batch of a worker that died on another one. After three deaths (an existing scheduler counts as its owner
    told it, `allowed-failures`) it blames every batch that was with those workers, also those that only waited there. So
    what is blamed runs again when all else is done, one batch at a time: then it is clear whose fault it is.

    Parameters
    ----------
    place : Place
        Where workers come from.
    prepare : callable, optional
        What one worker does before all begin: compile the engine, where it is not compiled yet.
    say : callable, optional
        Takes lines for the user.
    """

    def __init__(self, place: Place, prepare: Callable[[], None] | None = None, say: Say = lambda text: None) -> None:
        self.place, self.prepare, self.say = place, prepare, say
        self.client: Client | None = None

    @contextmanager
    def open(self) -> Iterator[None]:
        """Connect for the calls of `run` in a block; `run` alone does so itself. Nothing is made if it is refused.

        Raises
        ------
        InputError
            The place cannot be used as asked, or its versions are not ours.
        ResourceError
            Workers cannot be started.
        """
        with self.place.connect(self.say) as self.client:
            try:
                check_cluster(self.client)
                yield
            finally:
                self.client = None

    def run(self, work: Work, batches: Iterable["Task"]) -> Generator[Outcome, None, None]:
        """See Executor.

        Raises
        ------
        InputError
            The place cannot be used as asked, or its versions are not ours; nothing has been run.
        ResourceError
            The scheduler or all workers were lost; what has been yielded stays valid.
        """
        if self.client is None:
            with self.open():
                yield from self.run(work, batches)
            return
        client, prepare, self.prepare = self.client, self.prepare, None
        if prepare is not None:
            for _, outcome in self._stream(client, _Preparation(prepare), [None], alone=True):  # type: ignore[list-item]
                if isinstance(outcome, Exception):
                    raise outcome
        blamed = []
        for batch, outcome in self._stream(client, work, batches, alone=False):
            if isinstance(outcome, WorkerDied):
                blamed.append(batch)
            else:
                yield batch, outcome
        yield from self._stream(client, work, blamed, alone=True)

    def _stream(self, client: "Client", work: Work, batches: Iterable["Task"], *, alone: bool) -> Iterator[Outcome]:
        """Yield what comes of batches as it comes, with few of them in flight, or one."""
        recipe, source, finished = pickle.dumps(work), iter(batches), SimpleQueue[Any]()
        flying: dict[Any, tuple[Future, Task]] = {}
        watch = _Watch(client, self.place)
        try:
            while True:
                threads = watch.count_threads()
                most = 1 if alone else AHEAD * max(1, threads)
                for batch in islice(source, max(0, most - len(flying))):
                    future = client.submit(run_sent, recipe, batch, pure=False)
                    flying[future.key] = (future, batch)
                    future.add_done_callback(finished.put)
                if not flying:
                    return
                try:
                    future = finished.get(timeout=1.0)
                except Empty:
                    watch.check()
                    continue
                _, batch = flying.pop(future.key)
                outcome = _read(future)
                future.release()
                yield batch, outcome
        finally:
            if client.status == "running":
                client.cancel([future for future, _ in flying.values()])


class _Preparation:
    """A preparation in the clothes of the work on a batch."""

    def __init__(self, prepare: Callable[[], None]) -> None:
        self.prepare = prepare

    def __call__(self, batch: Any) -> Any:
        self.prepare()


class _Watch:
    """How many threads a cluster has, and whether it is still there; asked every few seconds only."""

    def __init__(self, client: "Client", place: Place) -> None:
        self.client, self.place = client, place
        self.threads, self.asked, self.seen = 0, float("-inf"), time.monotonic()

    def count_threads(self) -> int:
        """Return the threads of all workers.

        Raises
        ------
        ResourceError
            The scheduler is lost, or there is no use in waiting for workers.
        """
        now = time.monotonic()
        if now - self.asked > _LOOK_EVERY_S:
            self.check()
            try:
                self.threads, self.asked = sum(self.client.nthreads().values()), now
            except (OSError, TimeoutError, RuntimeError) as error:  # lost between two looks
                raise _tell_lost() from error
            self.seen = now if self.threads else self.seen
            self.place.check(now - self.seen)
        return self.threads

    def check(self) -> None:
        """Refuse to wait for a scheduler that is lost."""
        if self.client.status != "running":
            raise _tell_lost()


def _tell_lost() -> ResourceError:
    return ResourceError(
        "the Dask scheduler is lost; what is done is kept: start it again, then go on with `niche-sim resume` and the same "
        "options, or with others"
    )


@lru_cache(maxsize=1)
def _unpack(recipe: bytes) -> Work:
    return pickle.loads(recipe)


def run_sent(recipe: bytes, batch: "Task") -> Any:
    """Do the work on a batch, on a worker; it is sent pickled, so that a worker reads it once and the scheduler never."""
    try:
        return _unpack(recipe)(batch)
    except Exception as error:
        return flatten(error)


def _read(future: "Future") -> Any:
    """Return the rows of a batch that has ended, or its error.

    Raises
    ------
    ResourceError
        The scheduler is lost.
    """
    from distributed import CancelledError, KilledWorker

    try:
        return future.result()
    except KilledWorker:
        return WorkerDied(DIED)
    except (CancelledError, OSError, TimeoutError) as error:
        raise _tell_lost() from error
    except Exception as error:
        return flatten(error)


def check_cluster(client: "Client") -> None:
    """Refuse a scheduler or workers with other versions than ours: their numbers might be others.

    Workers that come later are refused by the work itself.

    Raises
    ------
    InputError
        The message names what differs, and where.
    """
    from niche_sim.kernel import hash_sources
    from niche_sim.study.work import list_versions

    names = [name for name in list_versions() if name != "python"]
    found: Any = client.get_versions(packages=names)
    theirs = {"the scheduler": found["scheduler"]}
    theirs |= {f"worker {address}": told for address, told in found["workers"].items()}
    compare(_pick(found["client"], names), {where: _pick(told, names) for where, told in theirs.items()})
    # Only now is code sent there: another Python could not read it.
    answers = {"the scheduler": client.run_on_scheduler(_ask_sources())}
    answers |= {f"worker {address}": told for address, told in client.run(_ask_sources(), on_error="return").items()}
    there = {where: told for where, told in answers.items() if not isinstance(told, OSError)}  # others died as we asked
    compare({_SOURCES: hash_sources()}, {where: {_SOURCES: str(told)} for where, told in there.items()})


def _ask_sources() -> Callable[[], str]:
    def hash_theirs() -> str:
        # A function in a function is sent as code, not as a name in a package that may not be there.
        try:
            from niche_sim.kernel import hash_sources
        except ImportError:
            return "not installed"
        return hash_sources()

    return hash_theirs


def _pick(told: Any, names: Iterable[str]) -> dict[str, str]:
    """Return the versions that matter of what Dask tells of a process; of Dask itself the release without the patch."""
    packages = {name: str(version or "not installed") for name, version in (told or {}).get("packages", {}).items()}
    picked = {name: packages.get(name, "not installed") for name in names}
    short = {"python": 3, "dask": 2, "distributed": 2}
    return picked | {name: ".".join(packages.get(name, "unknown").split(".")[:parts]) for name, parts in short.items()}


def compare(ours: dict[str, str], theirs: dict[str, dict[str, str]]) -> None:
    """Refuse versions, by place and name, that are not ours.

    Raises
    ------
    InputError
        Some are not.
    """
    differing: dict[str, list[str]] = {}
    for where, versions in theirs.items():
        for name, version in versions.items():
            if version != ours[name]:
                differing.setdefault(f"{name} {ours[name]} here, {version} at", []).append(where)
    if differing:
        said = [f"{what} {at[0]}" + (f" and {len(at) - 1} more" if at[1:] else "") for what, at in differing.items()]
        raise InputError(f"versions differ: {'; '.join(said)}. Install the same everywhere; nothing has been run")
