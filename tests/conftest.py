"""One thread for linear algebra, as the command line has it, and the small study that several files run.

More threads only wait for each other on small matrices.
"""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is loaded, which no plugin does before this file

STUDY = Path(__file__).with_name("tiny_study.yaml")


@pytest.fixture
def cut_small(monkeypatch):
    """A study of a second has several batches."""
    from niche_sim.study import runs

    monkeypatch.setattr(runs, "SHORTEST_BATCH_S", 0.1)


@pytest.fixture(scope="session")
def study():
    from niche_sim.study.gate import load_study

    return load_study(STUDY)


@pytest.fixture(scope="session")
def untouched(study, tmp_path_factory):
    """The folder of the study run one batch after the other in this process; nobody changes it."""
    from niche_sim.study import runs
    from niche_sim.study.execute import Serial
    from niche_sim.study.running import run_study

    directory = tmp_path_factory.mktemp("study") / "untouched"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "SHORTEST_BATCH_S", 0.1)
        found = run_study(study, directory, Serial())
    assert (found.planned, found.done, found.failed, found.missing) == (24, 24, 0, 0)
    assert found.batches_written == found.batches > 3
    return directory
