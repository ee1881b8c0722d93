"""`niche-sim view`: an experiment or a result in the browser."""

from pathlib import Path
from typing import TYPE_CHECKING, Union

import click

from niche_sim.errors import InputError

if TYPE_CHECKING:
    from niche_sim.config import Experiment
    from niche_sim.store import Result


@click.command(short_help="Open an experiment or a result in the browser.")
@click.argument("target")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="Port to listen on; 0 picks a free one."
)
@click.option("--host", metavar="ADDRESS", help="Address of this machine to listen on; needs --token.  [default: 127.0.0.1]")
@click.option(
    "--token", metavar="TOKEN", help="What every request must bring; `auto` makes one, in the address that is printed."
)
@click.option("--no-browser", is_flag=True, help="Print the address only.")
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), help="Replace the seed of the experiment.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Replace one value; repeatable.")
def view(
    target: str, port: int, host: str | None, token: str | None, no_browser: bool, seed: int | None,
    settings: tuple[str, ...],
) -> None:  # fmt: skip
    """Open TARGET in the browser: an experiment to be simulated while you watch, or the folder of a result to be replayed.

    Only this machine can open the page, whatever $HOST says, and nothing is fetched from or sent to anywhere. Who opens the
    page can run code as you: on a machine with other users add --token auto, and for another ADDRESS a token is
    required. Every tab is a session of its own. Ctrl-C or SIGTERM ends it, with exit code 0.

    Needs: pip install "niche-sim[view]"

    \b
    Examples:
      niche-sim view e00_zoledronate_niche
      niche-sim view results/e00 --port 0 --no-browser
      niche-sim view my.yaml --seed 7 --set population.dormant_dtc=12
      niche-sim view e00_zoledronate_niche --host 192.168.1.20 --token auto
    """
    from niche_sim.view.server import check_installed, choose_address, leave, serve

    check_installed()
    address = choose_address(host, port, token)
    subject = _load_target(target, seed, settings)
    from niche_sim.view.app import target as chosen

    chosen.set(subject)
    serve(address, browser=not no_browser, say=click.echo)
    leave()


def _load_target(text: str, seed: int | None, settings: tuple[str, ...]) -> Union["Experiment", "Result"]:
    from niche_sim.config import load_experiment
    from niche_sim.plan import check_memory
    from niche_sim.submodels.finding import find_submodel

    folder = Path(text)
    if _is_result(folder):
        if seed is not None or settings:
            raise InputError(f"{text}: is a result, which --seed and --set cannot change; give the experiment instead")
        return _load_result(folder)
    if find_submodel(text) is not None:
        raise InputError(f"{text}: is a sub-model, which has no lattice to look at; `niche-sim run` runs it")
    experiment = load_experiment(text, sets=settings, seed=seed)
    check_memory(experiment)
    return experiment


def _is_result(folder: Path) -> bool:
    from niche_sim.store.checkpoints import SUFFIX, place_of

    try:
        unfinished = folder.name.endswith(SUFFIX) or (not folder.exists() and place_of(folder).exists())
        found = folder.is_dir() and not (folder / "experiment.yaml").exists()
    except (OSError, ValueError):
        return False  # no such name can exist; the gate of experiments says what is wrong with it
    if unfinished:
        whole = folder.with_name(folder.name.removesuffix(SUFFIX))
        raise InputError(f"{folder}: is not finished; `niche-sim resume {whole}` goes on")
    return found


def _load_result(folder: Path) -> "Result":
    from niche_sim.store import load
    from niche_sim.store.manifest import COHORT_FORMAT, SUBMODEL_FORMAT, read_manifest

    kind = read_manifest(folder)["format"]
    if kind == COHORT_FORMAT:
        raise InputError(f"{folder}: holds a cohort, which has no lattice to look at; `niche-sim plot` draws its figures")
    if kind == SUBMODEL_FORMAT:
        raise InputError(f"{folder}: holds the tables of a sub-model, which has no lattice to look at; read its .csv files")
    return load(folder)
