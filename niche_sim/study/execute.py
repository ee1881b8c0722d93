"""Executors: who runs the batches of a study, behind one interface; none of them changes a byte of its results.

`Serial` runs them here, `Threads` side by side over kernels that let go of the GIL, `Processes` in processes of their own,
which is the default (docs/studies.md has the measurement): a process that is killed takes one batch with it, not the study.
"""

import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from niche_sim.errors import InputError, NicheSimError, ResourceError
from niche_sim.study.work import STOP, TRIES, warm_engine

if TYPE_CHECKING:
    import pandas as pd

    from niche_sim.study.work import Task

BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
GRACE_S = 4.0  # a kernel call lasts a second at most, so a thread that is told to stop does so well within
WORKER = "niche_sim engine"  # the name of threads that the command line does not wait for when it leaves
DIED = "the worker that ran it died each time it was tried"  # the same words from every executor: they are in the results
_STACK_BYTES = 64 << 20  # the compiler recurses deeply; some systems give threads half a megabyte

Work = Callable[["Task"], "pd.DataFrame"]
Outcome = tuple["Task", "pd.DataFrame | Exception"]


class WorkerDied(ResourceError):
    """The process that ran a batch ended without an answer, as often as it was tried."""


class Executor(Protocol):
    """Runs batches. One that connects to something has a method `open` too, which keeps the connection for a block."""

    def run(self, work: Work, batches: Iterable["Task"]) -> Iterator[Outcome]:
        """Yield each batch with the rows of its runs, or the error that kept it from being run, in any order.

        Few batches are taken ahead of what has been yielded, so that memory stays flat. Closing the iterator, or an
        exception in it such as KeyboardInterrupt, ends all that is under way within seconds.
        """


def _attempt(work: Work, batch: "Task") -> "pd.DataFrame | Exception":
    try:
        return work(batch)
    except (Exception, SystemExit) as error:  # a thread that ended without an answer would be waited for
        return error if isinstance(error, Exception) else NicheSimError(f"it asked to exit ({error})")


class Serial:
    """One batch after the other in this thread: the plain twin of the others."""

    def run(self, work: Work, batches: Iterable["Task"]) -> Iterator[Outcome]:
        """See Executor."""
        for batch in batches:
            yield batch, _attempt(work, batch)


class Threads:
    """Batches side by side in threads of this process."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs

    def run(self, work: Work, batches: Iterable["Task"]) -> Iterator[Outcome]:
        """See Executor."""
        todo: SimpleQueue[Any] = SimpleQueue()
        done: SimpleQueue[Any] = SimpleQueue()
        stop, source = threading.Event(), iter(batches)

        def serve() -> None:
            STOP.set(stop)
            for batch in iter(todo.get, None):
                done.put((batch, _attempt(work, batch)))

        before = threading.stack_size(_STACK_BYTES)
        # Daemons, and not a ThreadPoolExecutor, which would wait at exit for a thread that is still inside the compiler.
        threads = [threading.Thread(target=serve, name=WORKER, daemon=True) for _ in range(self.jobs)]
        for thread in threads:
            thread.start()
        threading.stack_size(before)
        flying = 0
        try:
            for batch in islice(source, self.jobs + 1):  # one ahead, so that no thread waits while a file is written
                todo.put(batch)
                flying += 1
            while flying:
                outcome = done.get()
                flying -= 1
                following = next(source, None)
                if following is not None:
                    todo.put(following)
                    flying += 1
                yield outcome
        finally:
            stop.set()
            while not todo.empty():
                todo.get()
            for _ in threads:
                todo.put(None)
            for thread in threads:
                thread.join(GRACE_S / self.jobs)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Have what is started begin with one thread of linear algebra: its own are slower by far, and fight over processors."""
    before = {name: os.environ.get(name) for name in BLAS_THREADS}
    os.environ.update(dict.fromkeys(BLAS_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _deaf() -> Iterator[None]:
    """Have what is started begin without Ctrl-C, which reaches the whole group: the driver ends its workers."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Worker:
    """A process that runs one batch at a time, and the driver's end of the pipe to it."""

    def __init__(self, context: Any, prepare: Callable[[], None], work: Work) -> None:
        self.connection: Connection
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, prepare, work), daemon=True)
        with _one_thread_each(), _deaf():
            self.process.start()
        theirs.close()  # else the pipe would not end with the process
        self.ready = False
        self.batch: Task | None = None

    def give(self, batch: "Task") -> None:
        """Hand a batch over; if the process is dead, the pipe says so when it is next read."""
        self.batch = batch
        with suppress(OSError):
            self.connection.send(batch)

    def take(self) -> tuple[str, Any] | None:
        """Return what the process says, or None if it is no more."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return None

    def describe_end(self) -> str:
        """Say how the process ended."""
        self.process.join(1.0)
        code = self.process.exitcode
        if code is not None and code < 0:
            return f"it was ended by signal {-code} ({signal.Signals(-code).name})"
        return f"it ended with exit code {code}"

    def end(self) -> None:
        """End the process, whatever it does."""
        self.connection.close()
        self.process.kill()
        self.process.join()


def _die_with(parent: Any) -> None:
    wait([parent.sentinel])
    os._exit(1)


def flatten(error: Exception) -> NicheSimError:
    """Return an error that every process can read back: that of some libraries cannot be unpickled."""
    if isinstance(error, InputError):
        return InputError(str(error))
    return NicheSimError(str(error) if isinstance(error, NicheSimError) else f"{type(error).__name__}: {error}")


def _serve(connection: Connection, prepare: Callable[[], None], work: Work) -> None:
    """Be a worker: prepare, then run what comes through the pipe until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver ends its workers
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # A driver that is killed says nothing; its workers must not go on for nobody.
    threading.Thread(target=_die_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    try:
        prepare()
        connection.send(("ready", None))
        while True:
            answer = _attempt(work, connection.recv())
            connection.send(("done", flatten(answer) if isinstance(answer, Exception) else answer))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except Exception as error:
        connection.send(("broken", f"{type(error).__name__}: {error}"))


class Processes:
    """Batches side by side in processes of their own, started afresh (spawn).

    A process that dies is replaced. Its batch is tried again, TRIES times in all; the others do not notice.

    Parameters
    ----------
    jobs : int
        Processes.
    prepare : callable
        What each of them does before its first batch; by default it loads and warms the engine.
    alone_first : bool
        Whether one process is to be ready before the others start, so that the engine is compiled once.
    """

    def __init__(self, jobs: int, prepare: Callable[[], None] = warm_engine, alone_first: bool = False) -> None:
        self.jobs, self.prepare, self.alone_first = jobs, prepare, alone_first

    def run(self, work: Work, batches: Iterable["Task"]) -> Iterator[Outcome]:
        """See Executor.

        Raises
        ------
        ResourceError
            Processes cannot be started, or end before they are ready.
        """
        context = multiprocessing.get_context("spawn")
        source, tried, stillborn = iter(batches), Counter[int](), 0
        waiting = deque(islice(source, self.jobs))
        pool: list[_Worker] = []
        try:
            while True:
                for worker in pool:
                    if waiting and worker.ready and worker.batch is None:
                        worker.give(waiting.popleft())
                    waiting.extend(islice(source, 0 if waiting else 1))
                busy = sum(worker.batch is not None for worker in pool)
                if not waiting and not busy:
                    return
                one = self.alone_first and not any(worker.ready for worker in pool)
                while len(pool) < (1 if one else min(self.jobs, busy + len(waiting))):
                    pool.append(self._start(context, work))
                for connection in wait([worker.connection for worker in pool]):
                    worker = next(worker for worker in pool if worker.connection is connection)
                    said = worker.take()
                    if said is None:
                        pool.remove(worker)
                        how = worker.describe_end()
                        worker.end()
                        stillborn += not worker.ready
                        if stillborn == TRIES:
                            raise ResourceError(_explain_start(how))
                        if worker.batch is not None:
                            batch = worker.batch
                            tried[batch.number] += 1
                            if tried[batch.number] < TRIES:
                                waiting.append(batch)
                            else:
                                yield batch, WorkerDied(DIED)
                    elif said[0] == "ready":
                        worker.ready, stillborn = True, 0
                    elif said[0] == "broken":
                        raise NicheSimError(f"a worker process cannot work: {said[1]}")
                    elif worker.batch is not None:
                        batch, worker.batch = worker.batch, None
                        yield batch, said[1]
        finally:
            for worker in pool:
                worker.end()

    def _start(self, context: Any, work: Work) -> _Worker:
        try:
            return _Worker(context, self.prepare, work)
        except OSError as error:
            raise ResourceError(f"no worker process can be started: {error.strerror or error}; use fewer --jobs") from error


def _explain_start(how: str) -> str:
    return (
        f"worker processes do not come up: {how} before its first batch, {TRIES} times in a row; if memory is short use "
        "fewer --jobs, and in a script of your own call this under `if __name__ == '__main__':`"
    )


def choose_executor(kind: str, jobs: int) -> Executor:
    """Return the executor of a name: processes, threads or serial.

    Raises
    ------
    InputError
        There is no such executor.
    """
    from niche_sim.kernel import is_compiled

    if kind == "processes":
        return Processes(jobs, alone_first=not is_compiled())
    if kind == "threads":
        return Threads(jobs)
    if kind == "serial":
        return Serial()
    raise InputError(f"--executor: no executor {kind!r}; there is processes, threads, serial")
