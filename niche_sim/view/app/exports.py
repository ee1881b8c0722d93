"""Exports: the picture, the data, and the YAML that comes to the state that is shown."""

import io
import tempfile
import zipfile
from pathlib import Path

import solara

from niche_sim.store import write_result
from niche_sim.view import palette
from niche_sim.view.app.session import Session
from niche_sim.view.app.stage import LivingStage, RecordedStage


@solara.component
def Exports(session: Session) -> None:
    """Offer the downloads; each is made when it is asked for."""
    session.charted.value, session.changed.value  # noqa: B018
    stage = session.stage
    if stage is None:
        return
    stem = f"{stage.experiment.name}_{session.clock.replace(' ', '')}"
    for arm in stage.shown:
        Download(session, f"Picture of {arm}", f"{stem}_{arm}.png", "image/png", lambda arm=arm: session.pictures[arm].png)
    if isinstance(stage, LivingStage) and stage.tick:
        Download(session, "Data (a results folder, zipped)", f"{stem}.zip", "application/zip", lambda: zip_result(stage))
        Download(
            session, "Experiment that comes to this state", f"{stem}.yaml", "application/yaml",
            lambda: stage.write_experiment().encode(),
        )  # fmt: skip
        words = "`niche-sim run` of the YAML ends in exactly what is shown; the zipped folder is that run's results."
    elif isinstance(stage, RecordedStage):
        words = f"The data and resolved.yaml lie in {stage.result.directory}."
    else:
        words = "Data and YAML can be had once at least one tick has been run."
    solara.Text(words, style=f"color: {palette.FAINT}; font-size: 13px")


@solara.component
def Download(session: Session, label: str, name: str, kind: str, make) -> None:  # type: ignore[no-untyped-def]
    """Offer one file."""
    solara.FileDownload(lambda: io.BytesIO(make()), filename=name, label=label, mime_type=kind)


def zip_result(stage: LivingStage) -> bytes:
    """Return the results folder of the arms that are shown, as if they had been run to now."""
    run, experiment = stage.collect()
    buffer = io.BytesIO()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / experiment.name
        write_result(folder, run, experiment)
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    packed.write(path, path.relative_to(folder.parent).as_posix())
    return buffer.getvalue()
