"""The methods of a run or a cohort in sentences, from what its manifest states alone."""

import re
from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill
from typing import Any

from niche_sim.config.schema import DEFAULT_SWITCHES
from niche_sim.lattice import SECTION_UM
from niche_sim.store.manifest import COHORT_FORMAT
from niche_sim.units import convert
from niche_sim.view.common import name_span

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
ROUTES = {"iv": "intravenously", "oral": "by mouth", "sc": "subcutaneously"}
LIBRARIES = ("numpy", "numba", "scipy")  # whose versions can change a simulated number
# The note of a number that was replaced, as `Parameter.replace` writes it.
REPLACED = re.compile(r"Set by the experiment; (.+) in the parameter set \((.+)\)\.$")


def write_methods(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return headings and paragraphs that tell how a result was computed, ready for the Methods of a paper.

    Parameters
    ----------
    manifest : mapping
        Of a run or of a cohort.
    """
    about = manifest["configuration"]
    parts = [
        ("Model", _tell_model(manifest)), ("Tissue and time", f"{_tell_scene(about['scene'])} {_tell_time(about['time'])}"),
        ("Patient and tumour", f"{_tell_patient(about['patient'])} {_tell_tumour(manifest)}"),
        ("Cohort", _tell_cohort(manifest) if manifest["format"] == COHORT_FORMAT else ""),
        ("Arms", " ".join(_tell_arms(about, manifest["arms"]))), ("Mechanisms", _tell_switches(about["switches"])),
        ("Parameters", _tell_parameters(manifest["sources"])), ("Randomness", _tell_draws(manifest)),
        ("Recording", _tell_record(manifest)), ("Software", _tell_software(manifest)),
    ]  # fmt: skip
    return [(heading, text.strip()) for heading, text in parts if text.strip()]


def print_methods(manifest: Mapping[str, Any], width: int = 100) -> str:
    """Return the methods of a run or a cohort as plain text, a paragraph under each heading."""
    return print_paragraphs(write_methods(manifest), width)


def print_paragraphs(parts: Iterable[tuple[str, str]], width: int = 100) -> str:
    """Return paragraphs as plain text, each under its heading."""
    return "\n\n".join(f"{heading}\n{fill(text, width)}" for heading, text in parts) + "\n"


def join(words: Iterable[str]) -> str:
    """Return words as a list in a sentence: "a", "a and b", "a, b and c"."""
    *first, last = list(words) or ["nothing"]
    return f"{', '.join(first)} and {last}" if first else last


def count(number: int, noun: str) -> str:
    """Return a number of things in words: "one arm", "24 points"."""
    words = NUMBERS[number] if number < len(NUMBERS) else f"{number:,}"
    return f"{words} {noun}{'' if number == 1 else 's'}"


def _span(text: Any) -> str:
    """Return a time as resolved in the unit that suits, minutes below an hour."""
    hours = convert(text, "h")
    return f"{60 * hours:.3g} min" if 0 < hours < 1 else name_span(text)


def _micro(text: Any) -> str:
    return str(text).replace(" um", " µm")


def _tell_model(manifest: Mapping[str, Any]) -> str:
    return (
        "Disseminated tumour cells (DTCs) in a patch of trabecular bone marrow were simulated with niche_sim "
        f"{manifest['versions'].get('niche-sim', '')}, an agent-based model of tumour cells, osteoclasts and their "
        "precursors, osteoblasts and macrophages on a lattice, with bone mineral that basic multicellular units (BMUs) "
        "erode and refill, growth factors at steady state of diffusion, release and decay, and drug that binds to bone, "
        "is buried in it and is released from it. Its description by the ODD protocol is part of the software."
    )


def _tell_scene(scene: Mapping[str, Any]) -> str:
    voxel = convert(scene["voxel"], "um")
    boundary = "periodic" if scene["boundary"] == "periodic" else "closed"
    if scene["kind"] == "image":
        bone = f"was read from the image {scene['file']} (voxels of {_micro(scene['image_voxel'])}"
        bone += f", bone above {scene['threshold']:g})" if "threshold" in scene else ")"
        shape = f"Trabecular bone {bone} and resampled to a lattice of voxels of {voxel:g} µm with {boundary} boundaries."
    else:
        edges = [convert(edge, "um") for edge in reversed(scene["size"])]  # x, y, z
        size, voxels = (" × ".join(f"{edge / part:.4g}" for edge in edges) for part in (1000.0, voxel))
        deep = "" if len(edges) == 3 else f" It is a section {SECTION_UM:g} µm deep."
        shape = (
            f"The lattice had {voxels} voxels of {voxel:g} µm, {size} mm in {NUMBERS[len(edges)]} dimensions, with "
            f"{boundary} boundaries.{deep} Trabeculae were generated to a bone volume fraction of "
            f"{100 * scene['bone_volume_fraction']:.3g} %, a thickness of {_micro(scene['trabecular_thickness'])} and a "
            f"separation of {_micro(scene['trabecular_separation'])} (seed {scene['seed']})."
        )
    sinusoids = f"{_micro(scene['sinusoid_diameter'])} in diameter lay {_micro(scene['sinusoid_spacing'])} apart on average."
    return f"{shape} Sinusoids {sinusoids}"


def _tell_time(time: Mapping[str, Any]) -> str:
    spin_up = convert(time["spin_up"], "h")
    before = f"After {_span(time['spin_up'])} of remodelling that let bone cells settle, e" if spin_up else "E"
    return f"{before}ach arm was followed for {_span(time['length'])} in ticks of {_span(time['tick'])}."


def _tell_patient(patient: Mapping[str, Any]) -> str:
    told = []
    for key, leaf in patient.items():
        name = key.replace("_", " ").replace("rankl", "RANKL")
        if isinstance(leaf, Mapping) and "value" in leaf:
            told.append(f"{name} {leaf['value']}")
        elif isinstance(leaf, list):
            first, last = leaf[0], leaf[-1]
            course = f"from {first['value']} at {first['from']} to {last['value']} at {last['from']}"
            told.append(f"{name} {course} in {count(len(leaf), 'point')}")
    model = patient.get("bone_model")
    driven = f" Bone was driven by the model in SBML {model['sbml']}." if model else ""
    title = f" ({patient['title'][:1].lower()}{patient['title'][1:]})" if patient.get("title") else ""
    return f"The patient was {patient['name']}{title}: {join(told)}.{driven}"


def _tell_tumour(manifest: Mapping[str, Any]) -> str:
    about = manifest["configuration"]
    seeded = {name: about["population"][f"{name}_dtc"] for name in ("dormant", "cycling")}
    cells = [f"{number} {name}" for name, number in seeded.items() if number]
    founders = sum(seeded.values())
    first = f"At time 0, {join(cells)} DTC{'s' if founders > 1 else ''} were placed, each the founder of a clone."
    first = first if cells else "No tumour cells were placed at time 0."
    on = about["switches"]
    if manifest["format"] == COHORT_FORMAT or not (on["mutation"] and on["division"]):
        return first
    held = about["parameters"]["division"]
    chances = {
        "resistant to chemotherapy": held["resistance_probability"], "adapted to bone": held["adaptation_probability"]
    }  # fmt: skip
    traits = [f"{trait} with probability {leaf['value']}" for trait, leaf in chances.items() if float(leaf["value"]) > 0]
    subclones = f" A daughter of a division became {join(traits)} and handed this on (subclones)." if traits else ""
    return first + subclones


def _tell_cohort(manifest: Mapping[str, Any]) -> str:
    spread = [
        f"{entry['name']} (CV {entry['cv']}, {entry.get('distribution', 'lognormal')})"
        for entry in manifest["configuration"].get("spread", ())
    ]
    differed = f"differed in {join(spread)}, and by chance" if spread else "differed by chance alone"
    niches, baseline = count(manifest["niches"], "independent niche"), _span(f"{manifest['baseline_h']} h")
    women = f" Each patient stood for {manifest['tumours']} women of her bone with tumours of their own: the tumour cells "
    women += "of the niches were sentinels, to whom nothing happens, and lesions were drawn from the hazards that these met."
    return (
        f"A cohort of {count(manifest['patients'], 'patient')} was simulated, each the mean of {niches} with one host; a "
        f"patient was the same in every arm. Patients {differed}. Markers are told relative to their mean until "
        f"{baseline}; arms are compared with {manifest['reference']}."
    ) + (women if manifest["tumours"] else "")


def _tell_course(course: Mapping[str, Any], drugs: Mapping[str, Any]) -> str:
    route = course.get("route") or drugs.get(course["drug"], {}).get("route", "")
    words = [f"{course['drug']} {course['dose']} {ROUTES.get(route, route)}".strip()]
    words += [f"infused over {_span(course['infusion'])}"] if route == "iv" and course.get("infusion") else []
    begin = course.get("start", "0 h")
    start = _span(begin) if convert(begin, "h") else "time 0"
    interval = course.get("interval")
    words += [f"every {_span(interval)}", f"from {start} on"] if interval else ["once", f"at {start}"]
    words += [f"until {_span(course['until'])}"] if course.get("until") else []
    words += [f"for {count(course['doses'], 'dose')}"] if course.get("doses", 1) > 1 else []
    words += [f"begun again every {_span(course['cycle'])}"] if course.get("cycle") else []
    words += [f"each dose taken with probability {course['adherence']:g}"] if "adherence" in course else []
    words += [f"without dose {join(map(str, course['missed']))}"] if course.get("missed") else []
    return ", ".join(words)


def _tell_difference(entry: Mapping[str, Any]) -> str:
    """Return what an arm or a change sets and switches, as clauses."""
    switches = entry.get("switches") or {}
    off, on = ([name for name, state in switches.items() if state is wanted] for wanted in (False, True))
    clauses = [f"{name} was {value}" for name, value in (entry.get("override") or {}).items()]
    clauses += [f"{join(names)} {'was' if len(names) == 1 else 'were'} switched {word}"
                for names, word in ((off, "off"), (on, "on")) if names]  # fmt: skip
    return join(clauses) if clauses else ""


def _tell_arms(about: Mapping[str, Any], names: Sequence[str]) -> Sequence[str]:
    arms, drugs = about["arms"], about["drugs"]
    sentences = [f"The experiment had {count(len(arms), 'arm')}."]
    for name in names:
        arm = arms[name]
        courses = [_tell_course(course, drugs) for course in arm["regimen"]]
        sentences.append(f"Arm {name} received {'; and '.join(courses) or 'no drug'}.")
        different = _tell_difference(arm)
        sentences += [f"In this arm {different} throughout."] if different else []
        for change in arm.get("changes", ()):
            sentences.append(f"From {_span(change['at'])} on {_tell_difference(change)} in this arm.")
    if len(arms) > 1:
        sentences.append("All arms began from the same state and shared every random draw.")
    return sentences


def _tell_switches(switches: Mapping[str, bool]) -> str:
    off = [name for name, on in switches.items() if not on and DEFAULT_SWITCHES.get(name, True)]
    on = [name for name, state in switches.items() if state and not DEFAULT_SWITCHES.get(name, True)]
    left = [name for name, state in DEFAULT_SWITCHES.items() if not state and name not in on]
    text = f"These mechanisms were switched off in all arms: {join(off)}." if off else "No mechanism was switched off."
    text += f" Switched on were, off by default: {join(on)}." if on else ""
    return text + (f" Off as by default: {join(left)}." if left else "")


def _tell_parameters(sources: Mapping[str, Any]) -> str:
    counts = sources["counts"]
    told = [f"{number} {status}" for status, number in counts.items() if number]
    text = f"The model used {sum(counts.values())} numbers ({join(told)}), each with a unit, a range and a source."
    changed = []
    for name, row in sources["numbers"].items():
        found = REPLACED.match(row["note"]) if not name.startswith("arms.") else None
        if found:
            changed.append(f"{name} = {row['value']} (default {found[1]})")
    return text + (f" Replaced for this experiment: {'; '.join(changed)}." if changed else " No number was replaced.")


def _tell_draws(manifest: Mapping[str, Any]) -> str:
    return (
        "Every random draw is a value of the counter-based generator Philox4x32-10 (Salmon et al. 2011) at the address of "
        f"the seed ({manifest['seed']}), tick, use and identity of the cell or voxel, so that arms share draws and results "
        "do not depend on the number of threads."
    )


def _tell_record(manifest: Mapping[str, Any]) -> str:
    record = manifest["configuration"]["record"]
    named = {"series": "counts, volumes and concentrations of the patch", "cells": "all cells", "fields": "fields",
             "ledgers": "ledgers of mass"}  # fmt: skip
    told = [f"{what} every {_span(record[key])}" for key, what in named.items() if record.get(key)]
    if manifest["format"] == COHORT_FORMAT:
        return f"Recorded were {join(told[:1])}, from which markers and tumours of each patient follow."
    told += ["every event of a cell with its place"] if record.get("events") else []
    times = record.get("pictures") or []
    if isinstance(times, str):  # an interval
        told += [f"maps of the patch every {_span(times)}"]
    elif times:
        listed = join(map(_span, times)) if len(times) <= 8 else f"{len(times)} times up to {_span(times[-1])}"
        told += [f"maps of the patch at {listed}"]
    return f"Recorded were {join(told)}. Recording does not change a simulation."


def _tell_software(manifest: Mapping[str, Any]) -> str:
    versions, host = manifest["versions"], manifest["host"]
    used = [f"{name} {versions[name]}" for name in LIBRARIES if name in versions]
    return (
        f"Simulations ran with niche_sim {versions.get('niche-sim', '')} on Python {versions['python']}, {join(used)} "
        f"({host['system']}, {host['machine']}). The configuration has the SHA-256 {manifest['configuration_sha256']}, the "
        f"result {manifest['result_hash']}."
    )
