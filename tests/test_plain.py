"""The compiled engine against itself as plain Python, and on a generic processor: equal hashes."""

import os
import subprocess
import sys

import pytest

from niche_sim.store import hash_result

JOB = [
    "e00_zoledronate_niche", "--set", "scene=trabecula_small", "--set", "population.dormant_dtc=4", "--set",
    "population.cycling_dtc=4", "--set", "time.spin_up=1 d", "--length", "1 d", "--quiet", "--no-figures",
]  # fmt: skip


def run(place, **environment):
    command = [sys.executable, "-W", "error::RuntimeWarning", "-m", "niche_sim", "run", *JOB, "--out", str(place)]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stderr
    return hash_result(place)


def test_without_the_compiler_the_same_bits_come_out(tmp_path):
    """Every kernel of a whole run (spin-up, two arms, drug, tumour) is also run as the Python it was written in."""
    assert run(tmp_path / "compiled") == run(tmp_path / "plain", NUMBA_DISABLE_JIT="1")


@pytest.mark.deep
def test_a_generic_processor_gives_the_same_bits(tmp_path):
    plain = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NICHE_SIM_CACHE": str(tmp_path / "cache")}
    numpy = {"NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX2 FMA3"}
    assert run(tmp_path / "native") == run(tmp_path / "generic", **plain, **numpy)
