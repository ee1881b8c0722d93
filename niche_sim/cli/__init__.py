"""The command line: one face over the gate, the engine, the store and the views.

Nothing heavy is imported here; each command imports what it needs, so that help and mistakes are instant.
"""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

# Exponentials of the small matrices of a drug's compartments take ten times as long where OpenBLAS divides them among the
# threads of a busy machine; it reads this when numpy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import click

from niche_sim import __version__
from niche_sim.cli.again import branch, rerun, resume, rng
from niche_sim.cli.cohort import cohort
from niche_sim.cli.follow import follow
from niche_sim.cli.inspect import check, listing, plan, schema, sources
from niche_sim.cli.movie import movie
from niche_sim.cli.results import export, hash_command, histomorphometry, plot, report, verify
from niche_sim.cli.run import ENGINE_THREAD, run
from niche_sim.cli.study import study
from niche_sim.cli.trial import stats
from niche_sim.cli.view import view
from niche_sim.errors import InputError, NicheSimError, ResourceError

_EPILOG = """\b
Examples:
  niche-sim list
  niche-sim check my_experiment.yaml
  niche-sim run e00_zoledronate_niche
  niche-sim run my_experiment.yaml --length "90 d" --seed 7 --out results/short
  niche-sim hash results/short

\b
Exit codes:
  0  done
  2  bad input: a file, an option, or a folder that cannot be used
  3  the simulation became numerically invalid
  4  a resource ran out: disk, memory, or the table of cells
  5  stopped from outside (Ctrl-C or SIGTERM)
  6  a study has ended, but runs of it failed
"""


_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(epilog=_EPILOG, context_settings=_SETTINGS)
@click.version_option(__version__, prog_name="niche-sim")
def cli() -> None:
    """Simulate bone marrow that carries disseminated tumour cells, with and without bisphosphonates.

    An EXPERIMENT is the name of a shipped one (see `niche-sim list`) or the path of a YAML file.
    """


_COMMANDS = (
    run, cohort, resume, branch, rerun, check, plan, sources, schema, listing, hash_command, verify, plot, report, export,
    movie, follow, histomorphometry, stats, rng, view, study,
)  # fmt: skip
for _command in _COMMANDS:
    cli.add_command(_command)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _say(error: NicheSimError) -> None:
    # A mistake in a file begins with file:line:column, so that editors find the place.
    lead = "" if hasattr(error, "problems") else "niche-sim: "
    click.echo(f"{lead}{error}", err=True)


def _invoke(arguments: Sequence[str] | None) -> int:
    try:
        words = None if arguments is None else list(arguments)
        code = cli.main(args=words, prog_name="niche-sim", standalone_mode=False)
        return int(code or 0)
    except click.ClickException as error:
        error.show()
        return InputError.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("niche-sim: stopped", err=True)
        return 5
    except NicheSimError as error:
        _say(error)
        return error.exit_code
    except BrokenPipeError:
        # The reader of a pipe (head, less) left: not an error, but nothing more can be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        click.echo(f"niche-sim: {error.filename or 'a file'}: {error.strerror or error}", err=True)
        return ResourceError.exit_code
    except MemoryError:
        click.echo("niche-sim: not enough memory; `niche-sim plan EXPERIMENT` tells the need", err=True)
        return 4


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code; an unexpected error is a bug and keeps its traceback."""
    signal.signal(signal.SIGTERM, _stop)
    code = _invoke(arguments)
    if any(thread.name == ENGINE_THREAD for thread in threading.enumerate()):
        # Still inside the compiler, which cannot be interrupted; everything unfinished has been removed.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
