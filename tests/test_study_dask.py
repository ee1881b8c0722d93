"""Studies on Dask: the same bytes on any number of workers, ports on loopback only, nothing lost whoever is killed."""

import datetime
import ipaddress
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd
import psutil
import pytest
from test_cli import call
from test_study_run import STUDY, OddError, is_alive, make_tasks, read_files, square, wait_until

import niche_sim
from niche_sim.errors import InputError, ResourceError
from niche_sim.study import queues
from niche_sim.study.clusters import LocalWorkers, RunningScheduler, is_loopback, open_scratch, split_address
from niche_sim.study.dask_executor import DaskExecutor, compare
from niche_sim.study.execute import WorkerDied
from niche_sim.study.gate import load_study
from niche_sim.study.queues import SYSTEMS, QueuedWorkers
from niche_sim.study.running import run_study

Client = pytest.importorskip("distributed").Client
pytestmark = pytest.mark.usefixtures("cut_small")

# ---------------------------------------------------------------- work without an engine


def meet_everything(task):
    """Note every try in a file; batch 1 fails, 2 always takes its process down, 3 does so once."""
    with open(f"{task.name}.{task.number}", "a") as file:
        file.write("x")
    if task.number == 1:
        raise OddError("a", "b")
    if task.number == 2 or (task.number == 3 and Path(f"{task.name}.3").read_text() == "x"):
        os.kill(os.getpid(), signal.SIGKILL)
    return square(task)


def take_a_while(task):
    """Say which process works on it, then work."""
    with open(f"{task.name}.{task.number}", "a") as file:
        file.write(f"{os.getpid()} ")
    time.sleep(0.4)
    return square(task)


GONE = (psutil.NoSuchProcess, psutil.ZombieProcess)  # between the list and the look: such a one has no socket


def list_family(others=()):
    """Return this process and those below it, without what was there before: it may have a browser of other tests."""
    me = psutil.Process()
    return [me, *(child for child in me.children(recursive=True) if child.pid not in others)]


def list_workers(others=()):
    """Return the process ids of workers; Python keeps a process of its own, a resource tracker, beside them."""
    workers = set()
    for child in list_family(others)[1:]:
        with suppress(*GONE):
            workers |= set() if "resource_tracker" in " ".join(child.cmdline()) else {child.pid}
    return workers


def list_sockets(processes):
    """Return the addresses, ours and the other's, of every socket of the processes that is on a network."""
    found = []
    for connection in list_connections(processes):
        found += [address.ip for address in (connection.laddr, connection.raddr) if address]
    return found


def list_connections(processes):
    found = []
    for process in processes:
        with suppress(*GONE):
            found += process.net_connections(kind="inet")
    return found


def count_listening(processes):
    return sum(connection.status == psutil.CONN_LISTEN for connection in list_connections(processes))


# ---------------------------------------------------------------- workers started here


def test_local_workers_run_every_batch_once_whatever_happens_and_talk_on_loopback_only(tmp_path):
    name, others = tmp_path / "try", {process.pid for process in list_family()}
    before = count_listening(list_family(others))
    outcomes, addresses, workers, ports = {}, set(), set(), []
    for task, outcome in DaskExecutor(LocalWorkers(2)).run(meet_everything, iter(make_tasks(8, name))):
        addresses.update(list_sockets(list_family(others)))
        workers |= list_workers(others)
        ports.append(count_listening(list_family(others)) - before)
        assert task.number not in outcomes
        outcomes[task.number] = outcome
    assert sorted(outcomes) == list(range(8))
    assert "a and b" in str(outcomes.pop(1))
    died = outcomes.pop(2)
    assert isinstance(died, WorkerDied) and "died each time" in str(died)
    assert {number: frame["square"][0] for number, frame in outcomes.items()} == {n: n * n for n in (0, 3, 4, 5, 6, 7)}
    # Blamed after three deaths, then tried alone; a row that was lost with a worker is computed again.
    assert len(Path(f"{name}.2").read_text()) in range(4, 7) and len(Path(f"{name}.3").read_text()) >= 2
    # The scheduler, and a worker with its nanny: the other worker may come up, or come again, after the outcomes.
    assert max(ports) >= 1 + 2 and {ipaddress.ip_address(address).is_loopback for address in addresses} == {True}
    assert workers
    wait_until(lambda: not any(is_alive(pid) for pid in workers) and count_listening(list_family(others)) == before)


def test_workers_are_ended_when_the_driver_stops_and_few_batches_are_taken_ahead():
    taken, others = [], {process.pid for process in list_family()}
    outcomes = DaskExecutor(LocalWorkers(1)).run(square, (taken.append(task.number) or task for task in make_tasks(60)))
    for given in range(1, 20):
        next(outcomes)
        assert len(taken) - given <= 3
    workers = list_workers(others)
    outcomes.close()
    assert workers
    wait_until(lambda: not any(is_alive(pid) for pid in workers))


# ---------------------------------------------------------------- a scheduler that is there


def find_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Scheduler:
    """A scheduler and workers as a user starts them: processes that talk TCP on 127.0.0.1."""

    def __init__(self, *options, protocol="tcp"):
        self.options, self.processes = options, []
        self.address = f"{protocol}://127.0.0.1:{find_port()}"
        host, _, port = self.address.rpartition(":")
        self.process = self.start("scheduler", "--host", host, "--port", port)
        wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", int(port))) == 0)

    def start(self, kind, *arguments, path=None):
        folders = [path, Path(niche_sim.__file__).parents[1], Path(__file__).parent]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(folder) for folder in folders if folder)}
        page = ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
        command = [sys.executable, "-m", "dask", kind, *arguments, *self.options, *page]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, env=environment, cwd=path or Path(__file__).parent, **quiet)
        self.processes.append(process)
        return process

    def add_worker(self, **place):
        """Return a new worker: without a nanny, its process is the one that works."""
        host = self.address.rpartition(":")[0]
        return self.start("worker", self.address, "--host", host, "--nthreads", "1", "--no-nanny", **place)

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()


@contextmanager
def start_scheduler(*options, workers=0, **more):
    scheduler = Scheduler(*options, **more)
    try:
        for _ in range(workers):
            scheduler.add_worker()
        yield scheduler
    finally:
        scheduler.stop()


class Shuffled(DaskExecutor):
    """Batches in another order."""

    def run(self, work, batches):
        order = list(batches)
        random.Random(7).shuffle(order)
        yield from super().run(work, order)


def test_a_study_has_the_same_bytes_on_dask_and_survives_its_worker_and_its_scheduler(study, untouched, tmp_path):
    with start_scheduler(workers=1) as scheduler:
        place = RunningScheduler(scheduler.address)
        found = run_study(study, tmp_path / "one", Shuffled(place))
        assert (found.done, found.failed) == (24, 0) and read_files(tmp_path / "one") == read_files(untouched)

        scheduler.add_worker()
        with Client(scheduler.address, set_as_default=False) as client:
            client.wait_for_workers(2)
        done, name = [], tmp_path / "pid"
        for task, outcome in DaskExecutor(place).run(take_a_while, iter(make_tasks(8, name))):
            assert list(outcome["square"]) == [task.number**2]
            done.append(task.number)
            if len(done) == 2:
                wait_until(lambda: find_busy(tmp_path, done))
                os.kill(find_busy(tmp_path, done)[0], signal.SIGKILL)
        assert sorted(done) == list(range(8))
        # Begun again: what it worked on, and what it had done and not yet given away.
        assert sum(len(path.read_text().split()) for path in tmp_path.glob("pid.*")) in (8, 9, 10)
        assert sum(process.poll() is None for process in scheduler.processes) == 2  # the scheduler and a worker

        outcomes = DaskExecutor(place).run(take_a_while, iter(make_tasks(50, name)))
        next(outcomes)
        scheduler.process.kill()
        began = time.monotonic()
        with pytest.raises(ResourceError, match="scheduler is lost; what is done is kept"):
            list(outcomes)
        assert time.monotonic() - began < 30


def find_busy(folder, done):
    """Return the processes that work on what is not done."""
    notes = {int(path.suffix[1:]): path.read_text().split() for path in folder.glob("pid.*")}
    return [int(pids[-1]) for number, pids in notes.items() if number not in done and pids]


def test_a_worker_with_other_sources_is_refused_and_named_before_any_work(tmp_path):
    shutil.copytree(Path(niche_sim.__file__).parent, tmp_path / "niche_sim", ignore=shutil.ignore_patterns("__pycache__"))
    with open(tmp_path / "niche_sim" / "draws.py", "a") as file:
        file.write("# edited\n")
    with start_scheduler() as scheduler:
        scheduler.add_worker(path=tmp_path)
        with pytest.raises(
            InputError, match=r"sources of niche_sim \w{16} here, \w{16} at worker tcp://127\.0\.0\.1:\d+\. Install"
        ):
            run_study(load_study(STUDY), tmp_path / "s", DaskExecutor(RunningScheduler(scheduler.address)))
    assert not (tmp_path / "s").exists()


def test_every_difference_of_versions_is_named_with_its_place():
    ours = {"numba": "0.61.0", "numpy": "2.1.0"}
    compare(ours, {"the scheduler": dict(ours)})
    with pytest.raises(InputError) as refused:
        compare(
            ours,
            {
                "the scheduler": ours | {"numpy": "2.0.0"},
                "worker a": ours,
                "worker b": {"numba": "not installed", "numpy": "2.0.0"},
            },
        )
    assert "numpy 2.1.0 here, 2.0.0 at the scheduler and 1 more" in str(refused.value)
    assert "numba 0.61.0 here, not installed at worker b" in str(refused.value)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "address, options, said",
    [
        ("127.0.0.1:8786", {}, "expected an address like"),
        ("tcp://127.0.0.1:99999", {}, "expected an address like"),
        ("tcp://10.0.0.1:8786", {}, "not on this machine"),
        ("tcp://10.0.0.1:8786", {"allow_remote": True}, "a tls:// address"),
        ("tls://node7:8786", {}, "--allow-remote"),
        ("tls://node7:8786", {"allow_remote": True}, "--tls-ca, --tls-cert and --tls-key"),
        ("tls://127.0.0.1:8786", {"tls_ca": Path("no"), "tls_cert": Path("no"), "tls_key": Path("no")}, "no such file"),
    ],
)
def test_addresses_that_cannot_or_must_not_be_used_are_refused_at_once(address, options, said, monkeypatch):
    monkeypatch.setattr(socket, "create_connection", None)  # nothing is asked of any network
    with pytest.raises(InputError, match=said):
        next(DaskExecutor(RunningScheduler(address, **options)).run(square, iter(make_tasks(1))))


def test_loopback_is_told_from_other_hosts_without_asking_anybody():
    hosts = {
        "127.0.0.1": True,
        "127.8.0.1": True,
        "::1": True,
        "localhost": True,
        "0.0.0.0": False,
        "10.0.0.1": False,
        "node7": False,
    }
    assert {host: is_loopback(host) for host in hosts} == hosts
    assert split_address("tls://[::1]:8786") == ("tls", "::1", 8786)


def test_a_scheduler_that_is_not_there_or_is_none_is_said_and_the_exit_code_is_2(tmp_path, capsys):
    assert (
        call("study", STUDY, "--out", tmp_path / "s", "--executor", "dask", "--scheduler", f"tcp://127.0.0.1:{find_port()}")
        == 2
    )
    assert "no scheduler there (Connection refused)" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as other:

        def greet():
            connection, _ = other.accept()
            connection.sendall(b"SSH-2.0-OpenSSH\r\n")
            connection.close()

        threading.Thread(target=greet, daemon=True).start()
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        assert call("study", STUDY, "--out", tmp_path / "s", "--executor", "dask", "--scheduler", address) == 2
    assert "no Dask scheduler that lets us in by tcp" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    "options, said",
    [
        (["--scheduler", "tcp://127.0.0.1:8786"], "--scheduler: not with --executor processes"),
        (["--executor", "dask", "--job", "cores=4"], "--job: not with --executor dask"),
        (["--executor", "dask", "--scheduler", "tcp://127.0.0.1:1", "--worker-memory", "2GB"], "--worker-memory: not with"),
        (["--executor", "dask", "--worker-memory", "much"], "--worker-memory much: expected"),
        (["--executor", "slurm", "--job", "cores=4"], "add --allow-remote"),
        (["--executor", "slurm", "--allow-remote", "--job", "cores"], "expected NAME=VALUE"),
    ],
)
def test_options_that_do_not_go_together_are_refused(tmp_path, capsys, options, said):
    assert call("study", STUDY, "--out", tmp_path / "s", *options) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error


# ---------------------------------------------------------------- queues

JOB = {
    "cores": "16", "memory": "32GB", "walltime": "04:00:00", "queue": "short", "account": "bone", "interface": "lo",
    "job_script_prologue": ["module load python"], "job_extra_directives": ["--exclusive"],
}  # fmt: skip


def test_the_script_of_a_slurm_job_is_what_was_asked(tmp_path, capsys):
    pytest.importorskip("dask_jobqueue")
    words = [
        f"--job={name}={value}"
        for name, values in JOB.items()
        for value in ([values] if isinstance(values, str) else values)
    ]
    words += ["--executor=slurm", "--workers=32", "--allow-remote", "--print-job", f"--job=shared_temp_directory={tmp_path}"]
    assert call("study", STUDY, "--out", tmp_path / "s", *words) == 0
    lines = capsys.readouterr().out.splitlines()
    for wanted in ("-p short", "-A bone", "-n 1", "--cpus-per-task=16", "--mem=30G", "-t 04:00:00", "--exclusive"):
        assert f"#SBATCH {wanted}" in lines
    assert lines.index("export NUMBA_NUM_THREADS=1") < lines.index("module load python") < len(lines) - 1
    command = next(line for line in lines if "dask_worker" in line)
    for wanted in (
        "tls://127.0.0.1:",
        "--nthreads 1 ",
        "--nworkers 16 ",
        "--memory-limit 1.86GiB",
        "--nanny",
        "--interface lo",
        "--no-dashboard",
    ):
        assert wanted in command
    for role in ("ca-file", "cert", "key"):
        assert f"--tls-{role} {tmp_path}/" in command
    assert not (tmp_path / "s").exists() and not list(tmp_path.iterdir())  # nothing was begun, and no key lies about


@pytest.mark.parametrize(
    "change, said",
    [
        ({"coers": "4"}, "--job coers: slurm has no such option; it has account, cores"),
        ({"cores": "many"}, "--job cores=many: expected a whole number"),
        ({"queue": ["a", "b"]}, "--job queue: is given 2 times"),
        ({"interface": None}, "--job interface=... is missing: network of the nodes"),
        ({"interface": "none0"}, "none0"),
        ({"memory": "much"}, "much"),
    ],
)
def test_options_of_a_queue_are_checked(change, said, tmp_path):
    pytest.importorskip("dask_jobqueue")
    options = {name: value for name, value in (JOB | change).items() if value is not None} | {
        "shared_temp_directory": str(tmp_path)
    }
    with pytest.raises(InputError, match=said):
        QueuedWorkers("slurm", 4, options, allow_remote=True).write_job()


def test_every_queue_is_one_of_dask_jobqueue_and_of_the_command_line():
    from niche_sim.cli.cluster import QUEUES

    dask_jobqueue = pytest.importorskip("dask_jobqueue")
    assert tuple(SYSTEMS) == QUEUES
    for name in SYSTEMS.values():
        assert issubclass(getattr(dask_jobqueue, name), dask_jobqueue.JobQueueCluster)


def test_a_machine_without_the_queue_is_told_so(tmp_path, monkeypatch):
    pytest.importorskip("dask_jobqueue")
    monkeypatch.setenv("PATH", str(tmp_path))
    place = QueuedWorkers("slurm", 4, JOB | {"shared_temp_directory": str(tmp_path)}, allow_remote=True)
    with pytest.raises(InputError, match="there is no sbatch here"):
        next(DaskExecutor(place).run(square, iter(make_tasks(1))))


SBATCH = """#!/bin/bash
{refusal}
cp "$1" {folder}/jobs/$$
echo "Submitted batch job $$"
[ -e {folder}/hold ] && exit
setsid bash {folder}/jobs/$$ > {folder}/$$.out 2>&1 &
echo $! > {folder}/$$.pid
"""
SCANCEL = """#!/bin/bash
mv {folder}/jobs/$1 {folder}/gone
[ -e {folder}/$1.pid ] && kill -TERM -- -$(cat {folder}/$1.pid)
exit 0
"""
SQUEUE = "#!/bin/bash\nls {folder}/jobs\n"


class Queue:
    """A queue that runs its jobs at once, on this machine."""

    def __init__(self, folder, monkeypatch, refusal=""):
        self.folder, self.shared = folder / "queue", folder / "shared"
        for name in ("jobs", "gone"):
            (self.folder / name).mkdir(parents=True)
        for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL), ("squeue", SQUEUE)):
            (self.folder / name).write_text(text.format(folder=self.folder, refusal=refusal))
            (self.folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{self.folder}:{os.environ['PATH']}")
        places = (niche_sim.__path__[0], __file__)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str(Path(place).parent) for place in places))
        monkeypatch.setattr(queues, "LOOK_EVERY_S", 0.1)

    def ask_for(self, workers, say=print, **options):
        needed = {"memory": f"{options['cores']}GB", "interface": "lo", "shared_temp_directory": str(self.shared)}
        return DaskExecutor(QueuedWorkers("slurm", workers, needed | options, allow_remote=True), say=say)

    def count_jobs(self):
        return len([*(self.folder / "jobs").iterdir(), *(self.folder / "gone").iterdir()])

    def cancel_all(self):
        for job in list((self.folder / "jobs").iterdir()):
            subprocess.run([self.folder / "scancel", job.name], check=True)

    def list_living(self):
        pids = [int(path.read_text()) for path in self.folder.glob("*.pid")]
        return [pid for pid in pids if is_alive(pid)]


def test_a_job_that_a_queue_ends_is_asked_for_again_and_its_batches_run_there(tmp_path, monkeypatch):
    queue, said, done = Queue(tmp_path, monkeypatch), [], []
    executor = queue.ask_for(4, said.append, cores="2")
    for task, outcome in executor.run(take_a_while, iter(make_tasks(12, tmp_path / "pid"))):
        assert list(outcome["square"]) == [task.number**2]
        done.append(task.number)
        if len(done) == 1:
            keys = {path.name: path.stat().st_mode & 0o777 for path in queue.shared.glob("*/*.pem")}
            assert keys == {"ca_file.pem": 0o600, "cert.pem": 0o600, "key.pem": 0o600}
            queue.cancel_all()
    assert sorted(done) == list(range(12)) and queue.count_jobs() in (4, 5)
    assert said[0] == "asked slurm for 4 workers; each begins when it is there"
    assert said[1:] and all("jobs ended; asking slurm again" in line for line in said[1:])
    wait_until(lambda: not queue.list_living())
    assert list(queue.shared.iterdir()) == []


def test_jobs_that_are_cancelled_before_they_begin_are_asked_for_again_and_ctrl_c_stays_what_it_was(tmp_path, monkeypatch):
    queue, said, held = Queue(tmp_path, monkeypatch), [], signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(queues, "LIST_EVERY_S", 0.1)
    (queue.folder / "hold").touch()

    def cancel_pending():
        wait_until(lambda: queue.count_jobs() == 2)
        (queue.folder / "hold").unlink()
        queue.cancel_all()

    threading.Thread(target=cancel_pending).start()
    found = [task.number for task, _ in queue.ask_for(4, said.append, cores="2").run(square, iter(make_tasks(4)))]
    assert sorted(found) == [0, 1, 2, 3] and signal.getsignal(signal.SIGINT) is held
    assert said[1:] and all("jobs ended; asking slurm again" in line for line in said[1:])


@pytest.mark.parametrize("name", ["it's here", "file/below"])
def test_a_folder_for_keys_that_cannot_be_used_is_named(name, tmp_path):
    (tmp_path / "file").touch()
    place = QueuedWorkers("slurm", 4, JOB | {"shared_temp_directory": str(tmp_path / name)}, allow_remote=True)
    with pytest.raises(InputError, match="--job shared_temp_directory=.*name"):
        place.write_job()


def test_a_queue_that_refuses_a_job_is_quoted_at_once(tmp_path, monkeypatch):
    queue = Queue(tmp_path, monkeypatch, refusal="echo 'sbatch: error: invalid partition' >&2; exit 1")
    with pytest.raises(InputError, match="slurm: it refuses the job: sbatch: error: invalid partition; --print-job"):
        next(queue.ask_for(4, cores="2").run(square, iter(make_tasks(1))))
    assert list(queue.shared.iterdir()) == []


def test_jobs_that_end_before_a_worker_comes_are_told_with_their_exit_code(tmp_path, monkeypatch):
    queue = Queue(tmp_path, monkeypatch)
    monkeypatch.setattr("niche_sim.study.dask_executor._LOOK_EVERY_S", 0.1)
    executor = queue.ask_for(4, cores="2", job_script_prologue=["exit 3"])
    with pytest.raises(ResourceError, match=r"6 jobs of slurm ended before a worker came, the last .* with exit code 3:"):
        next(executor.run(square, iter(make_tasks(1))))
    assert queue.count_jobs() == 6 and not queue.list_living()


def test_the_command_line_starts_without_dask():
    script = (
        "import sys, niche_sim.cli, niche_sim.study.execute; sys.exit('dask' in sys.modules or 'distributed' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def hold_scratch(folder):
    """Return a process that has a folder for workers in `folder`, and the name of that folder."""
    script = (
        "import time; from niche_sim.study.clusters import open_scratch\n"
        "with open_scratch() as folder:\n    print(folder, flush=True)\n    time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(folder)}
    )
    return process, Path(process.stdout.readline().strip())


def test_what_a_killed_driver_left_of_its_workers_is_removed_by_the_next(tmp_path, monkeypatch):
    (dead, left), (living, kept) = hold_scratch(tmp_path), hold_scratch(tmp_path)
    (left / "dask-scratch-space").mkdir()
    dead.kill()
    dead.wait()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with open_scratch() as own:
        assert set(tmp_path.iterdir()) == {kept, Path(own)}
    living.kill()
    living.wait()
    with open_scratch():
        pass
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- longer

RUN = "from niche_sim.study import runs; runs.SHORTEST_BATCH_S = 0.1; from niche_sim.cli import main; main()"
SPY = """
import os, sys
def note(event, arguments):
    if event in ("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo"):
        with open(os.environ["SOCKETS"], "a") as file:
            file.write(f"{event} {arguments[0] if event == 'socket.getaddrinfo' else arguments[1]!r}\\n")
sys.addaudithook(note)
"""


@pytest.mark.deep
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_local_workers_write_the_same_bytes_and_no_process_asks_anything_of_a_network(workers, untouched, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(SPY)
    place = os.pathsep.join([str(tmp_path), str(Path(niche_sim.__file__).parents[1])])
    environment = os.environ | {"PYTHONPATH": place, "SOCKETS": str(tmp_path / "sockets")}
    words = ["study", STUDY, "--out", tmp_path / "s", "--executor", "dask", "--workers", str(workers)]
    ended = subprocess.run([sys.executable, "-c", RUN, *words], env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr and "distributed" not in ended.stderr
    assert read_files(tmp_path / "s") == read_files(untouched)
    lines = set((tmp_path / "sockets").read_text().splitlines())
    inet = {line for line in lines if "127.0.0.1" in line}
    assert any(line.startswith("socket.bind") for line in inet) and any(line.startswith("socket.connect") for line in inet)
    unix = {line for line in lines if line.split()[1].startswith(("'/", "b'", "''"))}
    assert lines - inet - unix == set()


@pytest.mark.deep
def test_a_scheduler_that_is_killed_half_way_loses_nothing_and_processes_finish_the_study(tmp_path, capsys):
    words = [sys.executable, "-c", RUN, "study", STUDY, "--set", "time.length=60 d", "--set", "replicates=1", "--quiet"]
    subprocess.run([*words, "--out", tmp_path / "untouched", "--executor", "serial"], check=True)
    target = tmp_path / "s"
    with start_scheduler(workers=1) as scheduler:
        place = ["--out", target, "--executor", "dask", "--scheduler", scheduler.address]
        driver = subprocess.Popen([*words, *place], stderr=subprocess.PIPE, text=True)
        wait_until(lambda: len(list((target / "runs").glob("*.parquet"))) >= 1)
        os.kill(scheduler.process.pid, signal.SIGKILL)
        said = driver.communicate(timeout=60)[1]
    assert driver.returncode == 4 and said.count("\n") == 1
    assert "scheduler is lost" in said and "niche-sim resume" in said
    there = read_files(target)
    assert 0 < len(there) < len(read_files(tmp_path / "untouched"))
    assert call("resume", target, "--executor", "processes", "--jobs", 1, "--quiet") == 0
    assert {name: read_files(target)[name] for name in there} == there  # it stayed
    capsys.readouterr()
    hashes = [(call("hash", folder), capsys.readouterr().out) for folder in (target, tmp_path / "untouched")]
    assert hashes[0] == hashes[1] and hashes[0][0] == 0


@pytest.mark.deep
@pytest.mark.parametrize("killed", [signal.SIGKILL, signal.SIGINT])
def test_a_driver_that_is_killed_leaves_no_worker_and_its_study_is_finished_by_the_next(killed, study, untouched, tmp_path):
    target, script = tmp_path / "s", RUN.replace("0.1", "0.01")
    words = [sys.executable, "-c", script, "study", STUDY, "--out", target, "--executor", "dask", "--workers", "2"]
    (tmp_path / "tmp").mkdir()
    environment = os.environ | {"TMPDIR": str(tmp_path / "tmp")}
    driver = subprocess.Popen(words, stderr=subprocess.PIPE, start_new_session=True, text=True, env=environment)
    wait_until(lambda: len(list((target / "runs").glob("*.parquet"))) >= 1)
    workers = psutil.Process(driver.pid).children(recursive=True)
    os.killpg(driver.pid, killed) if killed == signal.SIGINT else driver.kill()
    said = driver.communicate()[1]
    assert driver.returncode == (5 if killed == signal.SIGINT else -signal.SIGKILL) and "Traceback" not in said
    wait_until(lambda: not any(is_alive(process.pid) for process in workers))
    there = set(read_files(target))
    again = subprocess.run(words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment)
    assert again.returncode == 0
    assert list((tmp_path / "tmp").iterdir()) == []
    assert there <= set(read_files(target))
    assert pd.read_parquet(target / "runs")["key"].is_unique
    columns = ["point", "replicate", "arm"]
    found, wanted = (
        pd.read_parquet(folder / "runs").sort_values(columns, ignore_index=True) for folder in (target, untouched)
    )
    pd.testing.assert_frame_equal(found, wanted, check_exact=True)


def write_certificates(folder):
    """Write an authority, and a certificate it signed, as a system administrator gives them out."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("authority", "us")]
    now = datetime.datetime.now(datetime.UTC)
    for name, key, subject, is_authority in (("ca", keys[0], names[0], True), ("cert", keys[1], names[1], False)):
        built = x509.CertificateBuilder().subject_name(subject).issuer_name(names[0]).public_key(key.public_key())
        built = built.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
        built = built.not_valid_after(now + datetime.timedelta(days=1))
        if is_authority:
            built = built.add_extension(x509.BasicConstraints(True, None), True)
            built = built.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        signed = built.sign(keys[0], hashes.SHA256())
        (folder / f"{name}.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        keys[1].private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return [folder / f"{name}.pem" for name in ("ca", "cert", "key")]


@pytest.mark.deep
def test_a_scheduler_with_certificates_lets_in_who_has_one(tmp_path):
    (tmp_path / "other").mkdir()
    ours, others = write_certificates(tmp_path), write_certificates(tmp_path / "other")
    files = [
        word for option, path in zip(("--tls-ca-file", "--tls-cert", "--tls-key"), ours) for word in (option, str(path))
    ]
    with start_scheduler(*files, workers=1, protocol="tls") as scheduler:
        place = RunningScheduler(scheduler.address, False, *ours)
        assert sorted(task.number for task, _ in DaskExecutor(place).run(square, iter(make_tasks(5)))) == list(range(5))
        for stranger in (
            RunningScheduler(scheduler.address, False, *others),
            RunningScheduler(scheduler.address.replace("tls", "tcp")),
        ):
            with pytest.raises(InputError, match="no Dask scheduler that lets us in"):
                next(DaskExecutor(stranger).run(square, iter(make_tasks(1))))
    with pytest.raises(InputError, match=r"--tls-key .*key\.pem"):
        RunningScheduler("tls://127.0.0.1:1", False, ours[0], ours[1], others[2])._check()


@pytest.mark.deep
def test_memory_stays_flat_over_many_batches():
    def measure():
        return {process.pid: process.memory_info().rss for process in (own, *own.children(recursive=True))}

    own, early, late = psutil.Process(), {}, {}
    for number, _ in enumerate(DaskExecutor(LocalWorkers(2)).run(return_much, iter(make_tasks(3000)))):
        early, late = (measure() if number == 600 else early), (measure() if number == 2999 else late)
    assert len(early) >= 3 and early.keys() == late.keys()
    assert max(late[pid] - early[pid] for pid in early) < 20e6  # what came back since were 480 MB


def return_much(task):
    return pd.DataFrame({"value": [float(task.number)] * 25_000})
