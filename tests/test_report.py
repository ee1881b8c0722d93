"""The report: inert, self-contained, the same bytes every time; its charts, numbers, references and methods."""

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from test_cli import call
from test_view import save

import niche_sim as ns
from niche_sim.config import list_available, load_experiment
from niche_sim.store.sources import collect_sources
from niche_sim.view.charts import MOST_POINTS, chart_cohort, chart_result, count_fates
from niche_sim.view.methods import print_methods, write_methods
from niche_sim.view.provenance import list_numbers, list_references
from niche_sim.view.report import write_report

TITLE = "</script><script>window.broken = 1</script><img src=x onerror='window.broken = 2'>"
ARMS = {"control": {}, "drug": {"regimen": "zoledronate_q4w"}}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return save(tmp_path_factory.mktemp("report") / "result", title=TITLE, arms=ARMS)


@pytest.fixture(scope="module")
def page(result):
    return write_report(result.directory).read_text()


def read_data(page):
    """The JSON of the charts, as a browser would read it: up to the first `</script`."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script', page, re.S)[1])


class Links(HTMLParser):
    """Collects what a browser would load, the scripts it would run, and every id."""

    def __init__(self):
        super().__init__()
        self.loaded, self.scripts, self.ids, self.handlers, self.inside = [], [], [], [], False

    def handle_starttag(self, tag, attrs):
        held = dict(attrs)
        self.handlers += [name for name in held if name.startswith("on")]
        self.ids += [held["id"]] if "id" in held else []
        if tag in ("img", "script", "iframe", "source", "video", "audio", "embed") and "src" in held:
            self.loaded.append(held["src"])
        if tag in ("link", "object", "base"):
            self.loaded.append(held.get("href") or held.get("data"))
        self.inside = tag == "script" and held.get("type") != "application/json"
        if self.inside:
            self.scripts.append("")

    def handle_data(self, text):
        if self.inside:
            self.scripts[-1] += text

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "script"


def read_links(page):
    links = Links()
    links.feed(page)
    return links


def test_a_hostile_title_is_text(page):
    assert "&lt;/script&gt;&lt;script&gt;" in page
    links = read_links(page)
    assert len(links.scripts) == 2 and links.handlers == [] and "x" not in links.loaded
    assert not any("broken" in script for script in links.scripts)


def test_nothing_is_loaded_and_only_scripts_whose_hash_is_stated_run(page):
    links = read_links(page)
    assert links.loaded and all(address.startswith("data:") for address in links.loaded)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1].replace("&#39;", "'")
    stated = set(re.findall(r"'sha256-([^']+)'", policy))
    assert stated == {base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in links.scripts}
    assert "default-src 'none'" in policy and "unsafe-eval" not in policy
    assert not re.search(r"url\((?!data:)|@import", page)
    assert len(links.ids) == len(set(links.ids))


def test_the_same_result_gives_the_same_page(result, page):
    assert write_report(result.directory).read_text() == page


def test_charts_show_the_series(result, page):
    data = read_data(page)
    assert [arm["name"] for arm in data["arms"]] == ["control", "drug"] and data["unit"] == "days"
    assert data["x"] == [0, 1, 2]
    for arm, name in enumerate(data["arms"]):
        frame = result.series[result.series["arm"] == name["name"]]
        for column in ("dormant", "bone_volume_fraction", "plasma_nmol_per_L"):
            values = data["columns"][column]["values"][arm]
            np.testing.assert_allclose(values if len(values) > 1 else values * 3, frame[column], rtol=1e-4)
    titles = {chart["title"]: chart for chart in data["charts"]}
    main = [line for line in titles["Dormant DTCs"]["lines"] if line["role"] == "main" and line["arm"] == 1]
    assert main[0]["values"] == result.series.query("arm == 'drug'")["dormant"].tolist()
    assert all(chart["unit"] for chart in [*data["charts"], *data["fates"]])
    assert data["columns"]["plasma_nmol_per_L"]["unit"] == "nmol/L"
    assert set(data["columns"]) == set(result.series.columns) - {"arm", "step", "time_h"}


def test_long_series_are_thinned_and_keep_their_ends(result, monkeypatch):
    import pandas as pd

    times = np.arange(5000) * 24.0
    frame = pd.DataFrame({"arm": "control", "step": range(5000), "time_h": times, "dormant": range(5000)})
    monkeypatch.setitem(result.__dict__, "series", frame)
    data = chart_result(result)
    assert len(data["x"]) == MOST_POINTS and data["unit"] == "years"
    values = data["charts"][0]["lines"][0]["values"]
    assert (values[0], values[-1]) == (0, 4999) and len(values) == MOST_POINTS


def test_fates_are_counted_by_cause(result, monkeypatch):
    frame = result.series.copy()
    for name in [name for name in frame if name.startswith("dtc_")]:
        frame[name] = 0
    frame.loc[frame["arm"] == "drug", "dtc_deaths_drug"] = 3
    frame.loc[frame["arm"] == "drug", "dtc_deaths_immune"] = 1
    monkeypatch.setitem(result.__dict__, "series", frame)
    (died,) = count_fates(result)
    assert died["title"] == "Died, by cause" and died["top"] == 4
    assert [(arm["arm"], arm["total"]) for arm in died["arms"]] == [("control", 0), ("drug", 4)]
    assert [(part["label"], part["count"]) for part in died["arms"][1]["parts"]] == [("drug contact", 3), ("immune", 1)]
    assert [label for label, _ in died["key"]] == ["drug contact", "immune"]


def test_every_number_and_every_paper_is_there(result, page):
    numbers = result.manifest["sources"]["numbers"]
    assert page.count("<tr data-status=") == len(numbers) == sum(result.manifest["sources"]["counts"].values())
    for name in numbers:
        assert f"<code>{name}</code>" in page
    linked = set(re.findall(r'href="#(ref-[^"]+)"', page))
    assert linked == {name for name in read_links(page).ids if name.startswith("ref-")} and len(linked) > 20
    assert "not in the shipped references" not in page


def test_a_number_is_split_from_its_unit():
    row = {"status": "measured", "source": "a, b", "note": ""}
    sources = {"numbers": {
        "one": row | {"value": "1e-4 /d", "range": ["1e-5 /d", "1e-2 /d"]},
        "two": row | {"value": "0.1 pmol/L", "range": ["0.01 pmol/L", "10 nmol/L"]},
        "three": row | {"value": "4.0", "range": ["1.0", "9"], "source": "none"},
    }}  # fmt: skip
    one, two, three = list_numbers(sources)
    assert (one["value"], one["unit"], one["range"], one["papers"]) == ("1e-4", "/d", "1e-5 – 1e-2", ["a", "b"])
    assert two["range"] == "0.01 pmol/L – 10 nmol/L"  # bounds in two units keep them
    assert (three["value"], three["unit"], three["range"], three["papers"]) == ("4.0", "1", "1.0 – 9", [])


def test_references_are_written_as_people_read_them():
    held = {paper["key"]: paper for paper in list_references(["monkkonen1987", "salmon2011", "nobody"])}
    assert held["monkkonen1987"]["text"].startswith("Mönkkönen et al. (1987). Toxicology and Applied Pharmacology 89:287.")
    assert held["monkkonen1987"]["doi"] == "10.1016/0041-008x(87)90050-0"
    assert "Salmon, John K.; Moraes, Mark A." in held["salmon2011"]["text"]
    assert held["nobody"]["text"] == "not in the shipped references"


def describe(experiment):
    """The manifest of a run of this experiment, without running it."""
    return {
        "format": "niche_sim result", "configuration": json.loads(json.dumps(experiment.resolved(), sort_keys=True)),
        "arms": list(experiment.arms), "seed": experiment.seed, "sources": collect_sources(experiment),
        "versions": {"niche-sim": "0.1.0", "python": "3.11", "numpy": "2.4"},
        "host": {"system": "Linux", "machine": "x86_64"}, "configuration_sha256": "c" * 64, "result_hash": "d" * 64,
    }  # fmt: skip


def tell(**changes):
    base = {"name": "m", "seed": 3, "scene": "trabecula_small", "patient": "postmenopausal", "time": {"length": "60 d"},
            "arms": {"control": {}}}  # fmt: skip
    return dict(write_methods(describe(ns.build_experiment(base | changes))))


@pytest.mark.parametrize("name", list_available()["experiments"])
def test_the_methods_of_every_shipped_experiment_are_sentences(name):
    parts = write_methods(describe(load_experiment(name)))
    assert [heading for heading, _ in parts][:3] == ["Model", "Tissue and time", "Patient and tumour"]
    for heading, text in parts:
        assert text[0].isupper() and text.endswith("."), heading
        assert not re.search(r"None|nan|[{}\[\]]|  |\.\.|\bh\b 0|'", text), (heading, text)


def test_methods_tell_scene_time_patient_and_cells():
    said = tell(
        scene={"kind": "generated", "size": ["200 um", "300 um", "400 um"], "voxel": "20 um", "bone_volume_fraction": 0.25,
               "trabecular_thickness": "80 um", "trabecular_separation": "120 um", "sinusoid_spacing": "100 um",
               "sinusoid_diameter": "20 um", "boundary": "closed", "seed": 8},
        time={"length": "2 yr", "tick": "3 h", "spin_up": "30 d"}, population={"dormant_dtc": 1, "cycling_dtc": 2},
    )  # fmt: skip
    text = said["Tissue and time"]
    assert "20 × 15 × 10 voxels of 20 µm, 0.4 × 0.3 × 0.2 mm in three dimensions, with closed boundaries." in text
    assert "bone volume fraction of 25 %, a thickness of 80 µm and a separation of 120 µm (seed 8)" in text
    assert "After 30 d of remodelling" in text and "each arm was followed for 2 yr in ticks of 3 h." in text
    assert "At time 0, 1 dormant and 2 cycling DTCs were placed" in said["Patient and tumour"]
    assert "oestradiol 22 pmol/L" in said["Patient and tumour"]
    flat = tell()
    assert "in two dimensions" in flat["Tissue and time"] and "section 20 µm deep" in flat["Tissue and time"]
    assert "Each arm was followed" in flat["Tissue and time"]
    assert "No tumour cells were placed" in flat["Patient and tumour"]


def test_methods_tell_regimens_changes_and_overrides():
    course = {"drug": "zoledronate", "dose": "4 mg", "interval": "28 d", "start": "14 d", "until": "50 d"}
    course |= {"infusion": "15 min"}
    once = {"drug": "denosumab", "dose": "60 mg", "start": "20 d"}
    changed = {"at": "30 d", "override": {"death.cycling_baseline": "0.01 /d"}, "switches": {"drug_tumour": False}}
    arms = {"z_control": {}, "a_drug": {"regimen": [course, once], "changes": [changed], "switches": {"mutation": False}}}
    switches = {"wake_factors": False, "immune_dormancy": True}
    said = tell(arms=arms, switches=switches, override={"dormancy.exit_rate": "1e-4 /d"})
    text = said["Arms"]
    assert text.index("z_control received no drug.") < text.index("Arm a_drug received")  # in the order of the experiment
    assert "zoledronate 4 mg intravenously, infused over 15 min, every 28 d, from 14 d on, until 50 d" in text
    assert "denosumab 60 mg subcutaneously, once, at 20 d" in text
    assert "In this arm mutation was switched off throughout." in text
    assert "From 30 d on death.cycling_baseline was 0.01 /d and drug_tumour was switched off in this arm." in text
    assert "These mechanisms were switched off in all arms: wake_factors." in said["Mechanisms"]
    assert "off by default: immune_dormancy." in said["Mechanisms"] and "default: angiogenic_dormancy." in said["Mechanisms"]
    assert "dormancy.exit_rate = 1e-4 /d (default 5e-5 /d)" in said["Parameters"]
    assert "seed (3)" in said["Randomness"]


def test_methods_tell_subclones_only_where_there_are_some():
    chances = {"division.resistance_probability": 1e-4, "division.adaptation_probability": 0.0}
    said = tell(population={"cycling_dtc": 3}, override=chances)["Patient and tumour"]
    assert "resistant to chemotherapy with probability 0.0001 and handed this on (subclones)" in said
    assert "adapted" not in said
    assert "subclones" not in tell(population={"cycling_dtc": 3}, switches={"mutation": False})["Patient and tumour"]


def test_methods_tell_what_was_recorded():
    record = {"series": False, "events": False, "ledgers": False, "fields": "7 d", "pictures": ["0 d", "60 d"]}
    said = tell(record=record)["Recording"]
    assert said.startswith("Recorded were fields every 7 d and maps of the patch at 0 d and 60 d.")
    said = tell(record={"pictures": "5 d"})["Recording"]
    assert "maps of the patch every 5 d" in said


def test_the_command_prints_the_methods_and_writes_nothing(result, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(result.directory, copy, ignore=shutil.ignore_patterns("report.html"))
    assert call("report", copy, "--methods") == 0
    text = capsys.readouterr().out
    assert text == print_methods(result.manifest) and max(map(len, text.splitlines())) <= 100
    assert "Arm drug received zoledronate 4 mg intravenously" in " ".join(text.split())
    assert not (copy / "report.html").exists()
    assert call("report", copy) == 0
    assert capsys.readouterr().out.strip() == str(copy / "report.html")


def test_a_cohort_is_charted_with_its_bands():
    import pandas as pd

    rows = [{"arm": arm, "time_h": 24.0 * day, "patient": p} for arm in "ab" for day in (0, 30, 60) for p in range(5)]
    markers = pd.DataFrame(rows)
    for name in ("ctx", "ntx", "p1np", "calcium"):
        markers[f"{name}_measured"] = markers["patient"] + markers["time_h"] / 24.0
    markers["bmd_spine_relative"] = 1.0 + markers["patient"] / 100.0
    about = {"arms": ["a", "b"], "configuration": {"arms": {"a": {}, "b": {}}}}
    data = chart_cohort({"manifest": about, "markers": markers})
    ctx = {(line["arm"], line["role"]): line["values"] for line in data["charts"][0]["lines"]}
    assert data["x"] == [0, 30, 60] and ctx[1, "main"] == [2, 32, 62]
    assert ctx[0, "low"] == [1, 31, 61] and ctx[0, "high"] == [3, 33, 63]
    assert [chart["unit"] for chart in data["charts"]][-1] == "% change from baseline"
