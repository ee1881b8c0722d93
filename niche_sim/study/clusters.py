"""Where Dask workers come from: started here, or found at the address of a scheduler; queues.py asks the queue of a cluster.

Whoever can talk to a port of Dask can run any code as its owner. So every port is on 127.0.0.1, and what is started here
talks TLS with a certificate that is made for this study and held in memory: not even others on this machine get in. A port
on a network takes two things, as a web page would take an option and a token: `allow_remote`, and TLS certificates.
"""

import atexit
import ipaddress
import logging
import os
import re
import shutil
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from niche_sim.errors import InputError, ResourceError
from niche_sim.store.folder import fcntl
from niche_sim.study.work import TRIES

if TYPE_CHECKING:
    from distributed import Client, Security

_ANSWER_S = 5.0  # a scheduler that is there answers in milliseconds, over a slow network in a second or two
_WORKERS_S = 10.0
_PATIENCE_S = 60.0
_LONGEST_GREETING = 1 << 16
_ADDRESS = re.compile(r"(?P<protocol>tcp|tls)://(?P<host>\[[0-9a-fA-F:.]+\]|[\w.-]+):(?P<port>\d{1,5})")
ONE_THREAD = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

Say = Callable[[str], None]


class Place(Protocol):
    """Where workers come from."""

    def connect(self, say: Say) -> AbstractContextManager["Client"]:
        """Return a client of a scheduler that has, or will have, workers; what was started here ends with it.

        Raises
        ------
        InputError
            It cannot be used as asked.
        ResourceError
            Workers cannot be started.
        """

    def check(self, without_s: float) -> None:
        """Refuse to wait for workers that do not come; asked every few seconds while a study runs.

        Parameters
        ----------
        without_s : float
            For how long there has been none.

        Raises
        ------
        ResourceError
            It is of no use to wait longer.
        """


class _Patient:
    """Waits a minute: a worker that died is there again after a few seconds."""

    def check(self, without_s: float) -> None:
        """See Place."""
        if without_s > _PATIENCE_S:
            raise ResourceError(
                f"the Dask scheduler has had no worker for {_PATIENCE_S:.0f} s; what is done is kept: start some, then go "
                "on with `niche-sim resume` and the same options"
            )


_SCRATCH = "niche_sim-dask-"


@contextmanager
def open_scratch(root: Path | None = None) -> Iterator[str]:
    """Yield a new folder for the files of workers; it goes in the end, and those of drivers that were killed go now.

    A driver holds a lock in its folder for as long as it lives, which holds on its machine only.

    Parameters
    ----------
    root : Path, optional
        Where it is made, by default where temporary files are.
    """
    root, here = root or Path(tempfile.gettempdir()), socket.gethostname()
    for left in root.glob(f"{_SCRATCH}*/lock") if fcntl is not None else ():
        with suppress(OSError):  # its driver lives, or another was quicker
            if left.stat().st_uid == left.parent.lstat().st_uid == os.getuid():
                with left.open() as handle:
                    if handle.read() == here:
                        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        shutil.rmtree(left.parent)
    folder = tempfile.mkdtemp(prefix=_SCRATCH, dir=root)
    try:
        with (Path(folder) / "new").open("w") as handle:
            handle.write(here)
            handle.flush()
            if fcntl is not None:
                with suppress(OSError):  # some network disks have no locks: then nobody takes this one either
                    fcntl.flock(handle, fcntl.LOCK_EX)
            (Path(folder) / "new").rename(Path(folder) / "lock")  # only now: it is never seen without a holder
            yield folder
    finally:
        for _ in range(20):  # what ends just now may still write there
            shutil.rmtree(folder, ignore_errors=True)
            if not os.path.lexists(folder):
                break
            time.sleep(0.1)


@dataclass(frozen=True)
class LocalWorkers(_Patient):
    """Workers started here, a process with one thread each.

    Attributes
    ----------
    workers : int
    memory : str
        A worker that needs more is ended, and its batch is tried elsewhere; `auto` is an equal share of the machine.
    dashboard : bool
        Serve Dask's web page, on 127.0.0.1.
    """

    workers: int
    memory: str = "auto"
    dashboard: bool = False

    @contextmanager
    def connect(self, say: Say) -> Iterator["Client"]:
        """See Place."""
        distributed = import_distributed()
        memory, page, certificate = read_memory(self.memory), serve_page(self.dashboard), make_certificate()
        with open_scratch() as folder, use_config(self.dashboard, folder):
            for more in reversed(range(TRIES)):
                try:
                    cluster = distributed.LocalCluster(
                        n_workers=self.workers, threads_per_worker=1, processes=True, host="127.0.0.1", protocol="tls://",
                        security=certificate, dashboard_address=None, memory_limit=memory, local_directory=folder,
                        silence_logs=logging.CRITICAL, scheduler_kwargs=page,
                    )  # fmt: skip
                    break
                except (RuntimeError, OSError, TimeoutError) as error:  # Dask has no patience yet with one that dies now
                    if not more:
                        what = f"{self.workers} Dask workers cannot be started"
                        raise ResourceError(f"{what}: {error}; use fewer --jobs") from error
                    say("a Dask worker died as it came up; starting all again")
                except BaseException:  # stopped now: at exit Dask would trip over its half-made cluster, and its workers
                    atexit.unregister(distributed.deploy.spec.close_clusters)  # see themselves that their driver is gone
                    raise
            with cluster, distributed.Client(cluster, set_as_default=False) as client:
                if self.dashboard:
                    say(f"dashboard: {cluster.dashboard_link}")
                yield client
                with suppress(TimeoutError):  # one that is just coming up again would complain of its end
                    client.wait_for_workers(self.workers, timeout=_WORKERS_S)


@dataclass(frozen=True)
class RunningScheduler(_Patient):
    """A scheduler that somebody started, with its workers.

    Attributes
    ----------
    address : str
        ``tcp://127.0.0.1:8786`` or ``tls://node7:8786``.
    allow_remote : bool
        Whether it may be elsewhere than on this machine; then it must be ``tls``.
    tls_ca, tls_cert, tls_key : path, optional
        PEM files for ``tls``: the authority that signed the scheduler's certificate, our certificate, and its key.
    """

    address: str
    allow_remote: bool = False
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None

    @contextmanager
    def connect(self, say: Say) -> Iterator["Client"]:
        """See Place."""
        security = self._check()
        distributed = import_distributed()
        with use_config(False):
            try:
                client = distributed.Client(
                    self.address, security=security, timeout=_ANSWER_S, set_as_default=False, name="niche_sim"
                )
            except (OSError, TimeoutError, RuntimeError) as error:
                raise self._refuse() from error
            with client:
                self._look(client)
                yield client

    def _check(self) -> "Security | None":
        """Refuse what must not or cannot be reached, before Dask is loaded; return the certificates."""
        protocol, host, port = split_address(self.address)
        if not is_loopback(host) and not (self.allow_remote and protocol == "tls"):
            raise InputError(
                f"--scheduler {self.address}: not on this machine. Whoever reaches a port of Dask can run any code, so this "
                "takes --allow-remote, a tls:// address, and --tls-ca, --tls-cert and --tls-key"
            )
        security = read_certificates(self.tls_ca, self.tls_cert, self.tls_key) if protocol == "tls" else None
        try:
            connection = socket.create_connection((host, port), _ANSWER_S)
        except OSError as error:
            raise InputError(
                f"--scheduler {self.address}: no scheduler there ({error.strerror or error}); correct the address, or start "
                f"one: dask scheduler --host {host} --port {port}"
            ) from error
        with connection:
            if not _greets(connection, security):
                raise self._refuse()
        return security

    def _refuse(self) -> InputError:
        return InputError(
            f"--scheduler {self.address}: something answers there, but no Dask scheduler that lets us in by "
            f"{self.address[:3]}"
        )

    def _look(self, client: "Client") -> None:
        """Refuse a scheduler without workers, and ports on a network without TLS."""
        try:
            client.wait_for_workers(1, timeout=_WORKERS_S)
        except TimeoutError as error:
            raise InputError(
                f"--scheduler {self.address}: it has no workers; start some: dask worker {self.address} --nworkers 4 "
                "--nthreads 1"
            ) from error
        for address in (client.scheduler_info()["address"], *client.nthreads()):
            if not address.startswith("tls://") and not is_loopback(split_address(address)[1]):
                raise InputError(
                    f"--scheduler {self.address}: {address} is a port on a network, without TLS: whoever reaches it can run "
                    "any code. Start scheduler and workers with --host 127.0.0.1, or with TLS certificates"
                )


def import_distributed() -> Any:
    """Return dask.distributed, which takes a second to load and which nobody else needs.

    Raises
    ------
    InputError
        It is not installed.
    """
    try:
        import distributed
    except ImportError as error:
        raise InputError(install_hint("cluster")) from error
    for name in ("distributed", "distributed.client", "distributed.core", "tornado.application"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # what matters of it we say ourselves, once
    return distributed


def install_hint(extra: str) -> str:
    return f'this needs more packages: pip install "niche-sim[{extra}]"'


def split_address(address: str) -> tuple[str, str, int]:
    """Return protocol, host and port.

    Raises
    ------
    InputError
        It is no such address.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None or not 0 < int(found["port"]) < 65536:
        raise InputError(f"--scheduler {address}: expected an address like tcp://127.0.0.1:8786 or tls://node7:8786")
    return found["protocol"], found["host"].strip("[]"), int(found["port"])


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine; names other than localhost are not looked up, and count as elsewhere."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _greets(connection: socket.socket, security: "Security | None") -> bool:
    """Tell whether Dask is at the other end; its own client would wait for ever for the end of what others send.

    Dask speaks first, and begins with the length of what it says, in 8 bytes.
    """
    try:
        if security is not None:
            connection = security.get_connection_args("client")["ssl_context"].wrap_socket(connection)
        with connection:
            said = connection.recv(8)
    except OSError:
        return False
    return len(said) == 8 and int.from_bytes(said, "little") < _LONGEST_GREETING


def make_certificate() -> "Security":
    """Return certificates for a cluster of our own, held in memory."""
    from distributed import Security

    try:
        return Security.temporary()
    except ImportError as error:
        raise InputError(install_hint("cluster")) from error


def read_certificates(ca: Path | None, cert: Path | None, key: Path | None) -> "Security":
    """Return the certificates in PEM files.

    Raises
    ------
    InputError
        One is not given, cannot be read, or does not fit.
    """
    if ca is None or cert is None or key is None:
        raise InputError("a tls:// scheduler takes --tls-ca, --tls-cert and --tls-key, each a PEM file")
    for option, path in (("--tls-ca", ca), ("--tls-cert", cert), ("--tls-key", key)):
        if not path.is_file():
            raise InputError(f"{option} {path}: no such file")
    try:
        ssl.create_default_context(cafile=str(ca)).load_cert_chain(cert, key)
    except OSError as error:
        raise InputError(f"--tls-ca {ca}, --tls-cert {cert}, --tls-key {key}: {error.strerror or error}") from error
    distributed = import_distributed()
    names = {"tls_ca_file": str(ca), "tls_client_cert": str(cert), "tls_client_key": str(key)}
    return distributed.Security(require_encryption=True, **names)


def read_memory(text: str) -> int | str:
    """Return bytes, or `auto`.

    Raises
    ------
    InputError
        It is no amount of memory, or too little to load the engine.
    """
    from dask.utils import parse_bytes

    if text == "auto":
        return text
    try:
        amount = parse_bytes(text)
    except ValueError:
        amount = 0
    if amount < 500_000_000:
        raise InputError(f"--worker-memory {text}: expected `auto`, or at least 500MB, written like 2GB")
    return amount


def serve_page(dashboard: bool) -> dict[str, Any]:
    """Return where the scheduler serves its page; without one its port is there all the same, and serves nothing."""
    if dashboard:
        try:
            import bokeh  # noqa: F401
        except ImportError as error:
            raise InputError("--dashboard: Dask's page needs bokeh: pip install bokeh") from error
    return {"dashboard": dashboard, "dashboard_address": "127.0.0.1:8787" if dashboard else "127.0.0.1:0"}


@contextmanager
def use_config(dashboard: bool, folder: str | None = None) -> Iterator[None]:
    """Set what can be set in no other way; workers that are started here take it over."""
    import dask

    settings: dict[str, Any] = {
        "distributed.scheduler.allowed-failures": TRIES - 1,  # Dask gives up at one death more than it allows
        "distributed.worker.http.routes": [],
        # What Dask remembers of each batch for its own debugging adds up: a megabyte a batch in a worker.
        "distributed.worker.profile.enabled": False,
        "distributed.admin.low-level-log-length": 100,
        "distributed.admin.log-length": 1000,
        "distributed.diagnostics.computations.max-history": 1,
        # Ctrl-C reaches the whole group of processes; the driver ends its workers.
        "distributed.worker.preload": ["import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"],
        "distributed.nanny.pre-spawn-environ": dict.fromkeys(ONE_THREAD, 1) | {"MALLOC_TRIM_THRESHOLD_": 65536},
    }
    settings |= {} if dashboard else {"distributed.scheduler.http.routes": []}
    settings |= {"temporary-directory": folder} if folder else {}  # else Dask leaves a folder of its own behind
    with dask.config.set(settings):
        yield
