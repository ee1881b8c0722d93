"""The command line: help at once, one clear message for a mistake, the documented exit code."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
from rich.console import Console

from niche_sim import cli, store
from niche_sim.errors import InputError, Interrupted, NumericalError, ResourceError
from niche_sim.plan import count_processors
from niche_sim.progress import ProgressReport, format_time
from niche_sim.store.checkpoints import SUFFIX

HEAVY = ("numba", "pandas", "scipy.linalg", "scipy.stats", "pyarrow", "zarr", "matplotlib", "mesa")
COMMANDS = (
    "run", "cohort", "check", "plan", "sources", "schema", "list", "hash", "verify", "plot", "report", "export", "follow",
    "view",
)  # fmt: skip


def call(*arguments):
    """Run the command line in this process; return its exit code."""
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(argument) for argument in arguments])
    return stopped.value.code


@pytest.fixture(autouse=True)
def keep_signals():
    """`main` installs a handler for SIGTERM; pytest keeps its own."""
    previous = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, previous)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """A small result written by the store from made-up tables."""
    from test_store import make_experiment, make_run

    target = tmp_path_factory.mktemp("cli") / "tiny"
    store.write_result(target, make_run(), make_experiment())
    return target


def test_help_names_every_command_and_exit_code(capsys):
    assert call("--help") == 0
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert re.search(rf"^  {command} ", text, re.M), command
    for code in (0, 2, 3, 4, 5):
        assert re.search(rf"^    {code}  \w", text, re.M), code


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_worth_reading(command, capsys):
    assert call(command, "--help") == 0
    assert len(capsys.readouterr().out) > 150


def test_version_is_the_package_version(capsys):
    from niche_sim import __version__

    assert call("--version") == 0
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize("arguments, expected", [
    (["rnu", "x"], "run"),
    (["run", "x", "--sede", "3"], "--seed"),
    (["run", "x", "--threads", "0"], "1<=x<=1024"),
    (["run", "x", "--seed", "-1"], "0<=x"),
    (["run", "x", "--seed", "many"], "not a valid integer"),
    (["run"], "EXPERIMENT"),
    (["check"], "FILE"),
])  # fmt: skip
def test_a_wrong_call_exits_2_and_says_what_was_expected(arguments, expected, capsys):
    assert call(*arguments) == 2
    captured = capsys.readouterr()
    assert expected in captured.err and "Traceback" not in captured.err and captured.out == ""


@pytest.mark.parametrize("error, code", [
    (InputError("e.yaml:3:1: wrong"), 2), (NumericalError("not finite"), 3), (ResourceError("full"), 4),
    (Interrupted("stopped"), 5), (KeyboardInterrupt(), 5), (MemoryError(), 4),
])  # fmt: skip
def test_each_kind_of_error_has_its_exit_code(error, code, monkeypatch, capsys):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(store, "hash_result", fail)
    assert call("hash", "x") == code
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and str(error) in lines[0]


def test_a_bug_keeps_its_traceback(monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(store, "hash_result", fail)
    with pytest.raises(ZeroDivisionError):
        cli.main(["hash", "x"])


def test_hash_prints_the_hash_of_the_manifest(result, capsys):
    assert call("hash", result) == 0
    assert capsys.readouterr().out.strip() == store.load(result).manifest["result_hash"]


def test_verify_names_every_damaged_file(result, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(result, copy)
    assert call("verify", copy) == 0
    (copy / "resolved.yaml").write_text("name: other\n")
    (copy / "cells.parquet").unlink()
    capsys.readouterr()
    assert call("verify", copy) == 2
    text = capsys.readouterr().err
    assert "resolved.yaml: was changed" in text and "cells.parquet: missing" in text and "2 files" in text


@pytest.mark.parametrize("command", ["hash", "verify", "plot", "report"])
def test_what_is_no_result_is_refused(command, tmp_path, capsys):
    assert call(command, tmp_path) == 2
    assert "not a results folder" in capsys.readouterr().err


def test_count_processors_are_at_least_one():
    assert 1 <= count_processors() <= (os.cpu_count() or 1)


@pytest.mark.parametrize("hours, text", [(6.0, "6 h"), (96.0, "4 d"), (2 * 8766.0, "2.00 yr"), (0.0, "0 h")])
def test_simulated_time_is_written_as_people_say_it(hours, text):
    assert format_time(hours) == text


def follow(terminal, quiet=False):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=120)
    with ProgressReport(quiet=quiet, console=console) as report:
        report("compiling")
        report("start", arm="control", total_h=100.0)
        for hour in range(101):
            report("advance", arm="control", time_h=float(hour))
        report("done", arm="control")
    return stream.getvalue()


def test_progress_is_a_few_lines_where_no_terminal_is():
    lines = follow(False).splitlines()
    assert lines[0].startswith("compiling") and lines[-1].startswith("control: done in")
    assert 4 <= len(lines) <= 7 and not any("\x1b" in line for line in lines)


def test_progress_is_a_bar_on_a_terminal_and_nothing_when_quiet():
    text = follow(True)
    assert "compiling" in text and "4 d of 4 d" in text and "time left" in text
    assert follow(True, quiet=True) == follow(False, quiet=True) == ""


@pytest.mark.parametrize("quiet", [True, False])
def test_stopping_ends_every_thread_that_reports(quiet):
    report, ended = ProgressReport(quiet=quiet, console=Console(file=io.StringIO())), []

    def work():
        try:
            while True:
                report("advance", arm="x", time_h=0.0)
                time.sleep(0.001)
        except Interrupted:
            ended.append(True)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    report.stop()
    for thread in threads:
        thread.join(5.0)
    assert ended == [True] * 3


def run_python(code, *arguments, **options):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


EXPERIMENT = """\
name: tiny
seed: 3
scene:
  kind: generated
  size: ["800 um", "800 um"]
  voxel: "20 um"
  bone_volume_fraction: 0.2
  trabecular_thickness: "120 um"
  trabecular_separation: "300 um"
  sinusoid_spacing: "160 um"
  sinusoid_diameter: "20 um"
patient: postmenopausal
time: {length: "4 d", tick: "6 h", spin_up: "2 d"}
population: {dormant_dtc: 4}
arms:
  control: {}
  zoledronate: {regimen: [{drug: zoledronate, dose: "4 mg"}]}
record: {series: "1 d", cells: "2 d", fields: "2 d", pictures: ["0 d", "4 d"]}
"""


@pytest.fixture
def experiment(tmp_path):
    """A file that the gate accepts and the engine finishes in a moment."""
    path = tmp_path / "tiny.yaml"
    path.write_text(EXPERIMENT)
    return path


def test_check_says_ok_or_names_every_mistake_at_its_place(experiment, tmp_path, capsys):
    assert call("check", experiment) == 0
    assert capsys.readouterr().out == f"{experiment}: ok\n"
    broken = tmp_path / "broken.yaml"
    broken.write_text(EXPERIMENT.replace("seed: 3", "sede: 3").replace('tick: "6 h"', 'tick: "6 mg"'))
    assert call("check", experiment, broken) == 2
    captured = capsys.readouterr()
    assert captured.out == f"{experiment}: ok\n"
    assert "broken.yaml:2:1" in captured.err and "seed" in captured.err and "time.tick" in captured.err
    assert call("check", broken, "--json") == 2
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["path"] for row in rows} == {"sede", "time.tick"}
    assert all(set(row) == {"file", "line", "column", "path", "code", "message"} for row in rows)


def test_check_stays_light_and_quick(experiment):
    code = (
        "import sys\nfrom niche_sim.cli import main\n"
        "try:\n    main(['check', sys.argv[1]])\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    assert run_python(code, experiment).stderr.strip() == "[]"


@pytest.mark.parametrize("command", ["run", "plan", "sources"])
def test_an_unknown_experiment_is_refused_by_name(command, capsys):
    assert call(command, "no_such_experiment") == 2
    captured = capsys.readouterr()
    assert "no_such_experiment" in captured.err and captured.out == ""


def test_sources_lists_every_number_and_its_paper(experiment, capsys):
    from niche_sim.config import load_experiment

    assert call("sources", experiment) == 0
    text = capsys.readouterr().out
    loaded = load_experiment(experiment)
    names = set(re.findall(r"^([\w.]+)  ", text, re.M))
    assert set(loaded.parameters) <= names and any(name.startswith("drugs.zoledronate.") for name in names)
    assert re.search(r"\d+ numbers: .*\d+ assumed", text)
    assert call("sources", experiment, "--bibtex") == 0
    bibtex = capsys.readouterr().out
    papers = re.search(r"prints them\): (.*)", text).group(1).split(", ")
    assert sorted(re.findall(r"^@\w+\{([^,]+),", bibtex, re.M)) == sorted(papers)


def test_schema_is_json(capsys):
    assert call("schema") == 0
    assert json.loads(capsys.readouterr().out)["type"] == "object"


def test_list_names_what_is_shipped(capsys):
    assert call("list") == 0
    text = capsys.readouterr().out
    assert "drugs:\n" in text and "Zoledronate 4 mg intravenously every 4 weeks" in text
    assert re.search(r"^  human +Human bone marrow\.", text, re.M)
    assert re.search(r"^studies:\n(  .*\n)*  dtc_escape +Which parameters govern", text, re.M)


@pytest.mark.parametrize("words, said", [
    (["study", "dtc_excape"], "no study or file is called 'dtc_excape'; did you mean 'dtc_escape'?"),
    (["study", "e00_zoledronate_niche"], "is an experiment, not a study: `niche-sim run e00_zoledronate_niche` runs it"),
    (["run", "dtc_escape"], "'dtc_escape' is a study: `niche-sim study dtc_escape` runs it"),
    (["study", "no/such/study.yaml"], "no/such/study.yaml: cannot be read: no such file"),
])  # fmt: skip
def test_names_of_studies_and_experiments_are_told_apart(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call(*words) == 2
    text = capsys.readouterr().err
    assert said in text and text.count("\n") == 1


def test_files_of_studies_and_experiments_are_told_apart(experiment, tmp_path, capsys):
    study = tmp_path / "study.yaml"
    study.write_text(f"name: s\nexperiment: {experiment}\ndesign: {{kind: grid}}\nfactors: {{}}\n")
    for words, said in (
        (["study", experiment], f"{experiment}:1:1: is an experiment, not a study"),
        (["run", study], f"{study}:3:1: design: this is a study, not an experiment"),
    ):  # fmt: skip
        assert call(*words) == 2
        text = capsys.readouterr().err
        assert said in text and text.count("\n") == 1


def test_what_does_not_fit_into_the_memory_is_refused(experiment, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("niche_sim.plan.find_memory", lambda: 100 << 20)
    for words in (("plan", experiment), ("run", experiment, "--out", tmp_path / "no")):
        assert call(*words) == 4
        assert "of memory" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_plot_and_report_refuse_a_changed_result(finished, tmp_path, capsys):
    shutil.copytree(finished[0], tmp_path / "changed")
    path = tmp_path / "changed" / "events.parquet"
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    for command in ("plot", "report"):
        assert call(command, tmp_path / "changed") == 2
        assert "events.parquet" in capsys.readouterr().err


def test_plan_is_arithmetic_on_the_experiment(experiment, capsys):
    assert call("plan", experiment, "--json") == 0
    need = json.loads(capsys.readouterr().out)
    assert need["voxels"] == 1600 and need["shape"] == [1, 40, 40]
    assert need["ticks"] == 2 * 16 + 8 and need["arms"] == 2
    assert need["memory_bytes"] > 350e6 and need["disk_bytes"] > 0
    assert need["hazard_times_tick"] == pytest.approx(need["fastest_hazard_per_h"] * 6.0)
    assert call("plan", experiment) == 0
    assert "1,600 voxels" in capsys.readouterr().out


def test_a_folder_in_use_is_refused_before_the_engine_is_loaded(experiment, tmp_path):
    target = tmp_path / "mine"
    target.mkdir()
    (target / "precious").write_text("x")
    code = (
        "import sys\nfrom niche_sim.cli import main\n"
        "try:\n    main(['run', sys.argv[1], '--out', sys.argv[2]])\n"
        "except SystemExit as stop:\n    assert stop.code == 2\nassert 'numba' not in sys.modules"
    )
    done = run_python(code, experiment, target)
    assert done.returncode == 0 and "not empty" in done.stderr
    assert (target / "precious").read_text() == "x"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A real run with everything drawn, and what it printed."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "tiny.yaml").write_text(EXPERIMENT)
    command = [sys.executable, "-m", "niche_sim", "run", "tiny.yaml", "--threads", "2"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "results/tiny", done


def test_run_writes_a_whole_result_and_says_what_happened(finished):
    target, done = finished
    assert store.verify(target) == []
    assert (target / "report.html").stat().st_size > 1000
    assert list((target / "figures").glob("*.png")) and list((target / "figures").glob("*.svg"))
    for word in ("control", "zoledronate", "assumed", "results/tiny"):
        assert word in done.stdout, word
    assert "control: done in" in done.stderr and "\x1b" not in done.stderr


def test_the_resolved_file_runs_to_the_same_hash(finished, tmp_path, capsys):
    target, _ = finished
    arguments = ["--quiet", "--no-figures", "--threads", "1", "--out", tmp_path / "again"]
    assert call("run", target / "resolved.yaml", *arguments) == 0
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == ""
    assert store.hash_result(tmp_path / "again") == store.hash_result(target)
    assert not (tmp_path / "again/report.html").exists()


def test_options_replace_what_the_file_says(experiment, tmp_path):
    out = tmp_path / "other"
    options = ["--seed", 9, "--length", "2 d", "--set", "dormancy.exit_rate=1e-4 /d"]
    assert call("run", experiment, "--out", out, *options, "--quiet", "--no-figures") == 0
    result = store.load(out)
    assert result.manifest["seed"] == 9 and result.series.time_h.max() == 48.0
    assert result.manifest["sources"]["numbers"]["dormancy.exit_rate"]["value"] == "1e-4 /d"


def stop(process, number):
    """Signal a process and return what it said then, and the seconds of processor time that it took to end.

    On the clock it takes longer where other processes keep the machine busy; more than a minute fails.
    """
    before, used = sum(os.times()[2:4]), sum(psutil.Process(process.pid).cpu_times()[:2])
    process.send_signal(number)
    out, said = process.communicate(timeout=60)
    return out, said, sum(os.times()[2:4]) - before - used


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("moment", ["compiling", "running"])
def test_a_stopped_run_exits_5_soon_and_leaves_only_what_resumes(experiment, tmp_path, finished, number, moment):
    out = tmp_path / "stopped"
    arguments = ["run", experiment, "--length", "50 yr", "--out", out]
    command = [sys.executable, "-m", "niche_sim", *map(str, arguments)]
    cache = tmp_path.with_name(f"{tmp_path.name}-cache")
    environment = os.environ | ({"NICHE_SIM_CACHE": str(cache)} if moment == "compiling" else {})
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    for line in process.stderr:
        if line.startswith("spin-up: started" if moment == "compiling" else "zoledronate: started"):
            break
    time.sleep(1.0)
    _, text, seconds = stop(process, number)
    assert process.returncode == 5 and seconds < 5.0
    assert "stopped" in text and "Traceback" not in text
    left = sorted(path.name for path in tmp_path.iterdir())
    kept = out.with_name(out.name + SUFFIX)
    if moment == "compiling":
        assert left == ["tiny.yaml"]  # nothing was simulated, so nothing is kept
    else:
        assert left == [kept.name, "tiny.yaml"] and f"`niche-sim resume {out}` goes on" in text
        assert call("verify", out) == 0


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom niche_sim.cli import main\n"
        "try:\n    main(['run', '--help'])\nexcept SystemExit:\n    pass\n"
        f"names = {HEAVY + ('numpy', 'rich', 'ruamel')}\n"
        "print([name for name in names if name in sys.modules], file=sys.stderr)"
    )
    assert run_python(code).stderr.strip() == "[]"


def test_module_and_script_are_the_same():
    command = [sys.executable, "-m", "niche_sim", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: niche-sim")
