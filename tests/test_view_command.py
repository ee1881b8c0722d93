"""`niche-sim view`: what is refused before a server starts, and what its page is given."""

import pytest
from test_cli import call, keep_signals  # noqa: F401, a fixture
from test_store import make_experiment, make_run

from niche_sim import store
from niche_sim.config import Experiment
from niche_sim.store import Result
from niche_sim.store.manifest import COHORT_FORMAT, NAME, SUBMODEL_FORMAT, seal
from niche_sim.view import server
from niche_sim.view.app import target


@pytest.fixture
def started(monkeypatch):
    """What the server would have been started with, if it was."""
    seen = []
    monkeypatch.setattr(server, "serve", lambda address, **more: seen.append((address, more)))
    monkeypatch.setattr(server, "leave", lambda: None)
    return seen


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """A small result written by the store from made-up tables."""
    folder = tmp_path_factory.mktemp("view") / "tiny"
    store.write_result(folder, make_run(), make_experiment())
    return folder


def test_an_experiment_is_handed_over_checked(started):
    assert call("view", "e00", "--seed", 7, "--set", "population.dormant_dtc=3", "--port", 0, "--no-browser") == 0
    chosen = target.get()
    assert isinstance(chosen.subject, Experiment)
    assert (chosen.name, chosen.subject.seed, chosen.subject.population.dormant_dtc) == ("e00_zoledronate_niche", 7, 3)
    address, more = started[0]
    assert (address.host, address.port, address.token, more["browser"]) == ("127.0.0.1", 0, None, False)


def test_a_result_is_handed_over_and_takes_no_other_numbers(started, result, capsys):
    assert call("view", result) == 0
    assert isinstance(target.get().subject, Result) and target.get().name == make_experiment().name
    assert len(started) == 1 and started[0][1]["browser"] is True
    for option in (("--seed", 1), ("--set", "population.dormant_dtc=3")):
        assert call("view", result, *option) == 2
        assert "give the experiment instead" in capsys.readouterr().err
    assert len(started) == 1


@pytest.mark.parametrize("form, words", [(COHORT_FORMAT, "`niche-sim plot`"), (SUBMODEL_FORMAT, ".csv")])
def test_what_has_no_lattice_is_refused(form, words, started, result, tmp_path, capsys):
    manifest = store.load(result).manifest | {"format": form}
    (tmp_path / NAME).write_bytes(seal(manifest))
    assert call("view", tmp_path) == 2
    text = capsys.readouterr().err
    assert "no lattice" in text and words in text
    assert not started


def test_a_file_with_mistakes_gets_the_messages_of_the_gate(started, tmp_path, capsys):
    bad = tmp_path / "bad.yaml"
    bad.write_text("name: bad\nscene: trabecula_smal\n")
    assert call("view", bad) == 2
    assert "bad.yaml:2:8" in capsys.readouterr().err
    assert not started


def test_a_missing_file_of_a_result_is_told(started, result, tmp_path, capsys):
    (tmp_path / NAME).write_bytes((result / NAME).read_bytes())
    assert call("view", tmp_path) == 2
    assert "missing from this result" in capsys.readouterr().err
    assert not started


@pytest.mark.parametrize("made, asked, words", [
    ("run.unfinished", "run", "niche-sim resume"),
    ("run.unfinished", "run.unfinished", "niche-sim resume"),
    ("empty", "empty", "manifest.json"),
    ("other", "nowhere/at/all", "nowhere"),
])  # fmt: skip
def test_other_places_are_told_apart(made, asked, words, started, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / made).mkdir()
    assert call("view", asked) == 2
    assert words in capsys.readouterr().err
    assert not started


def test_a_sub_model_is_sent_to_run(started, capsys):
    from niche_sim.submodels.finding import list_examples

    assert call("view", list_examples()[0]) == 2
    assert "`niche-sim run`" in capsys.readouterr().err
    assert not started
