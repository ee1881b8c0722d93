"""Exports: the picture, the data, and the YAML that comes to the state that is shown."""

import io
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import solara

from niche_sim.store import write_result
from niche_sim.view import palette
from niche_sim.view.app.session import Session
from niche_sim.view.app.sheet import draw_sheet
from niche_sim.view.app.stage import LivingStage, RecordedStage


@solara.component
def Exports(session: Session) -> None:
    """Offer the downloads; each is made when it is asked for."""
    session.charted.value, session.changed.value  # noqa: B018
    stage = session.stage
    if stage is None:
        return
    stem = f"{stage.experiment.name}_{session.clock.replace(' ', '')}"
    Download("Picture", f"{stem}.png", "image/png", lambda: _draw(session))
    if isinstance(stage, LivingStage) and stage.tick:
        Download("Data (a results folder, zipped)", f"{stem}.zip", "application/zip", lambda: zip_result(stage))
        Download("Experiment (YAML)", f"{stem}.yaml", "application/yaml", lambda: _write(stage))
        words = "`niche-sim run` of the YAML ends in exactly what is shown; the zipped folder is that run's results."
    elif isinstance(stage, RecordedStage):
        words = f"The data and resolved.yaml lie in {stage.result.directory}."
    else:
        words = "Data and YAML can be had once at least one tick has been run."
    solara.Text(words, style=f"color: {palette.FAINT}; font-size: 13px")


@solara.component
def Download(label: str, name: str, kind: str, make: Callable[[], bytes]) -> None:
    """Offer one file."""
    with solara.FileDownload(lambda: io.BytesIO(make()), filename=name, mime_type=kind):
        solara.Button(label, icon_name="mdi-download", small=True, outlined=True, style="margin: 3px 0")


def _draw(session: Session) -> bytes:
    stage = session.stage
    assert stage is not None
    experiment = stage.experiment
    voxel_um = None if session.view.volume else float(experiment.scene.voxel_um)
    return draw_sheet(session.pictures, experiment.title or experiment.name, session.clock, voxel_um)


def _write(stage: LivingStage) -> bytes:
    return stage.write_experiment().encode()


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
