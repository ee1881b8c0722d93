"""Statistics of a trial: `niche-sim stats`."""

from pathlib import Path

import click


@click.command(short_help="Survival statistics of a CSV of time, event, arm.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder to create for survival.csv, arms.csv, comparison.csv.")
@click.option("--reference", help="Arm that others are compared with.  [default: the first]")
@click.option("--horizon", type=float, help="End of the restricted mean, in the unit of the times.")
@click.option("--no-cox", is_flag=True, help="Leave out hazard ratios.")
def stats(file: Path, out: Path | None, reference: str | None, horizon: float | None, no_cox: bool) -> None:
    """Compare the arms of a trial: Kaplan-Meier, Greenwood, log-rank, Cox (Efron), restricted mean.

    FILE has the columns time, event (1 happened, 0 censored) and arm; others are passed over. Times have any one unit.

    \b
    Example:
      niche-sim stats configs/submodels/trial_example.csv --out results/trial
    """
    from niche_sim.statistics import analyse, read_trial

    tables = analyse(read_trial(file), reference, horizon, not no_cox)
    if out is not None:
        from niche_sim.store import reserve
        from niche_sim.store.folder import write_file
        from niche_sim.submodels.running import encode_tables

        with reserve(out) as place:
            for name, content in encode_tables(tables).items():
                write_file(place.partial / name, content)
            place.publish()
    click.echo(tables["arms"].to_string(index=False))
    one = "one arm: there is nothing to compare"
    click.echo(tables["comparison"].to_string(index=False) if len(tables["comparison"]) else one)
