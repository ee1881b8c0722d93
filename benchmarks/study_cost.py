"""What a run of a study costs, beside what is predicted: `python benchmarks/study_cost.py [--long] [--markdown]`.

The prediction (TICK_S and its neighbours in `niche_sim/study/runs.py`) cuts batches and gives the hours of `niche-sim plan`.
Here it is set against processor time of one thread, which what else the machine does changes little. A row is a batch of one
run: scene, state at time 0, spin-up of a day, and the arm.
"""

import argparse
import itertools
import os
import platform
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command line and the workers have it

from niche_sim.study.design import build_design
from niche_sim.study.gate import load_study
from niche_sim.study.runs import list_batches, survey_points
from niche_sim.study.work import make_task, run_batch, warm_engine

STUDY = """\
name: cost
experiment:
  name: cost
  seed: 1
  scene: {scene}
  patient: postmenopausal
  time: {{length: "{length}", spin_up: "1 d"}}
  population: {population}
  arms: {{one: {arm}}}
design: {{kind: grid}}
factors: {{seed: {{values: [1, 2]}}}}
endpoints: {{bone: {{column: bone_volume_fraction, take: {take}}}}}
"""
FLAT = (
    '{{kind: generated, size: [{size}], voxel: "20 um", boundary: periodic, bone_volume_fraction: 0.17, '
    'trabecular_thickness: "{thick} um", trabecular_separation: "{apart} um", sinusoid_spacing: "280 um", '
    'sinusoid_diameter: "40 um"}}'
)
SCENES = {
    "1,600": "trabecula_small",
    "10,000": FLAT.format(size='"2 mm", "2 mm"', thick=140, apart=650),
    "40,000": FLAT.format(size='"4 mm", "4 mm"', thick=140, apart=650),
    "32^3": FLAT.format(size='"0.64 mm", "0.64 mm", "0.64 mm"', thick=80, apart=300),
}
DRUG = "{regimen: zoledronate_q4w}"
CONTENTS = {  # tumour cells, arm, what is read off
    "bone": ("{}", "{}", "end"),
    "tumour": ("{dormant_dtc: 8, cycling_dtc: 30}", "{}", "end"),
    "tumour and drug": ("{dormant_dtc: 8, cycling_dtc: 30}", DRUG, "end"),
    "bone, a row a day": ("{}", "{}", "mean"),
}


def measure(text: str, folder: Path) -> tuple[float, float]:
    """Return the predicted and the measured seconds of a run: of two seeds the mean."""
    file = folder / "study.yaml"
    file.write_text(text)
    study = load_study(file)
    design = build_design(study)
    points = survey_points(study, design)
    tasks = [make_task(batch, design) for batch in list_batches(study, design, points)]
    began = time.process_time()
    for task in tasks:
        frame = run_batch(study, task)
        assert (frame["status"] == "done").all(), frame["error"].tolist()
    spent = time.process_time() - began
    return (sum(points.spin_up_s) + sum(points.run_s)) / len(design), spent / len(design)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="two years too, which takes ten minutes")
    parser.add_argument("--markdown", action="store_true")
    given = parser.parse_args()
    warm_engine()
    with tempfile.TemporaryDirectory() as place:  # what only tumours and drugs load from the cache
        text = STUDY.format(scene="trabecula_small", length="1 d", population="{cycling_dtc: 9}", arm=DRUG, take="mean")
        measure(text, Path(place))
    lengths = ("1 d", "30 d", "180 d", *(("2 yr",) if given.long else ()))
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    line = "| {} | {} | {} | {} | {} | {} |" if given.markdown else "{:>8}  {:<18}{:>6}{:>14}{:>12}{:>8}"
    print(line.format("voxels", "content", "length", "predicted s", "measured s", "ratio"))
    ratios = []
    with tempfile.TemporaryDirectory() as place:
        for (size, scene), (content, (population, arm, take)), length in itertools.product(
            SCENES.items(), CONTENTS.items(), lengths
        ):
            text = STUDY.format(scene=scene, length=length, population=population, arm=arm, take=take)
            predicted, spent = measure(text, Path(place))
            ratios.append(predicted / spent)
            print(line.format(size, content, length, f"{predicted:.3f}", f"{spent:.3f}", f"{ratios[-1]:.2f}"), flush=True)
    print(f"predicted over measured: {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()
