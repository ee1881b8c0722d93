"""Full disks, damaged files, cold starts, long runs: at length, for the deep tier.

`n` trials without a failure bound its rate at 3 / n (95 % confidence): 50 full disks at 6 %.
"""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from niche_sim.store import hash_result
from niche_sim.study.store import open_folder

pytestmark = [pytest.mark.deep, pytest.mark.timeout(3600)]

JOB = [
    "run", "e00_zoledronate_niche", "--set", "scene=trabecula_small", "--set", "population.dormant_dtc=8", "--length",
    "120 d", "--set", "time.spin_up=60 d", "--quiet", "--no-figures",
]  # fmt: skip
# The disk is full from the n-th file on that is made durable, until the process ends.
FULL_DISK = """
import errno, os, sys
real, left = os.fsync, int(sys.argv[1])
def fsync(handle):
    global left
    left -= 1
    if left < 0:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    real(handle)
os.fsync = fsync
from niche_sim.cli import main
main(sys.argv[2:])
"""
FLAT = """
import resource, sys
import niche_sim as ns
sets = {"scene": "trabecula_small", "population.dormant_dtc": "0", "time.spin_up": "10 d", "arrival.tumour_supply": "0 /yr",
        "record.series": "false", "record.events": "false", "record.ledgers": "false", "record.pictures": "[]",
        "record.cells": "false", "record.fields": "false", "arms": "{control: {}}"}
for days in (2_500, 25_000):
    ns.run_experiment(ns.load_experiment("e00_zoledronate_niche", sets=sets | {"time.length": f"{days} d"}))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def call(*words, code=None, environment=None, script=None):
    start = [sys.executable, "-c", script] if script else [sys.executable, "-m", "niche_sim"]
    done = subprocess.run(
        [*start, *map(str, words)], capture_output=True, text=True, timeout=600, env=os.environ | (environment or {})
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert code is None or done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    place = tmp_path_factory.mktemp("faults") / "untouched"
    call(*JOB, "--checkpoint-every", "10 d", "--out", place, code=0)
    return place


def test_fifty_full_disks(untouched, tmp_path):
    """Exit 4 with file and bytes; what was there verifies; after room was made `resume` gives the equal hash."""
    chance, met = random.Random(7), 0
    for trial in range(50):
        target = tmp_path / f"full{trial}"
        words = [*JOB, "--checkpoint-every", "10 d", "--out", target]
        done = call(chance.randrange(0, 220), *words, script=FULL_DISK)
        if done.returncode == 0:
            assert hash_result(target) == hash_result(untouched)
            continue
        met += 1
        assert done.returncode == 4, done.stderr
        assert "No space left" in done.stderr and "bytes" in done.stderr and str(target.name) in done.stderr
        assert not target.exists()
        call("verify", untouched, code=0)
        started = (target.with_name(target.name + ".unfinished") / "run.json").exists()
        call(*(["resume", target, "--quiet"] if started else words), code=0)
        assert hash_result(target) == hash_result(untouched)
    assert met > 30


def harm(path, how):
    content = bytearray(path.read_bytes())
    if how == "delete":
        path.unlink()
        return
    if how == "flip" and content:
        content[len(content) // 2] ^= 4
    path.write_bytes(content[: len(content) // 2] if how == "cut" else content)


@pytest.mark.parametrize("how", ["flip", "cut", "delete"])
def test_every_file_of_a_result_that_is_harmed_is_named(untouched, tmp_path, how):
    names = [path.relative_to(untouched) for path in sorted(untouched.rglob("*")) if path.is_file()]
    assert len(names) > 100
    for name in names:
        if not (untouched / name).stat().st_size:
            continue
        copy = tmp_path / "copy"
        shutil.copytree(untouched, copy)
        harm(copy / name, how)
        for command in ("verify", "hash") if name.suffix else ("verify",):
            done = call(command, copy, code=2)
            assert str(name) in done.stderr or name.name == "manifest.json", (name, done.stderr)
        shutil.rmtree(copy)


def test_sixteen_cold_starts_at_once(untouched, tmp_path):
    """One empty cache of compiled code for all of them: no crash, equal hashes."""
    environment = os.environ | {"NICHE_SIM_CACHE": str(tmp_path / "cache")}
    words = [sys.executable, "-m", "niche_sim", *JOB, "--threads", "1", "--out"]
    running = [
        subprocess.Popen([*words, str(tmp_path / f"cold{k}")], env=environment, stderr=subprocess.PIPE, text=True)
        for k in range(16)
    ]
    for k, process in enumerate(running):
        _, said = process.communicate(timeout=3000)
        assert process.returncode == 0, said
        assert hash_result(tmp_path / f"cold{k}") == hash_result(untouched)


def test_memory_is_flat_over_a_hundred_thousand_ticks():
    """From 10,000 ticks to 100,000: what the host does to the niche, some 100 bytes a tick, and nothing else."""
    few, many = map(int, call(script=FLAT, code=0).stdout.split())
    assert (many - few) * 1024 < 90_000 * 160


STUDY = Path(__file__).parents[1] / "tiny_study.yaml"


def test_sixteen_studies_cold_at_once(tmp_path):
    """One empty cache of compiled code for all: no crash, equal hashes; then one for four workers of a study.

    The sixteen compile in their drivers: with a worker each they would take 19 GB.
    """
    environment = os.environ | {"NICHE_SIM_CACHE": str(tmp_path / "cache")}
    words = [
        "nice",
        "-n",
        "15",
        sys.executable,
        "-m",
        "niche_sim",
        "study",
        str(STUDY),
        "--quiet",
        "--executor",
        "serial",
        "--out",
    ]
    running = [
        subprocess.Popen([*words, str(tmp_path / f"cold{k}")], env=environment, stderr=subprocess.PIPE, text=True)
        for k in range(16)
    ]
    for process in running:
        _, said = process.communicate(timeout=3000)
        assert process.returncode == 0 and said == ""
    hashes = {open_folder(tmp_path / f"cold{k}").hash() for k in range(16)}
    assert len(hashes) == 1
    alone = environment | {"NICHE_SIM_CACHE": str(tmp_path / "other")}
    words = ["study", STUDY, "--quiet", "--set", "time.length=60 d", "--out"]
    assert call(*words, tmp_path / "four", "--jobs", "4", environment=alone, code=0).stderr == ""
    call(*words, tmp_path / "one", "--executor", "serial", code=0)
    assert open_folder(tmp_path / "four").hash() == open_folder(tmp_path / "one").hash()
