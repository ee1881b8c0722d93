"""The report in a browser: nothing asked, nothing complained of, and charts that can be used."""

import re

import pytest

import niche_sim as ns
from niche_sim.store import write_result
from niche_sim.view.provenance import list_numbers
from niche_sim.view.report import write_report

TITLE = "</script><script>window.broken = 1</script><img src=x onerror='window.broken = 2'>"


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    experiment = ns.build_experiment({
        "name": "page", "title": TITLE, "seed": 3, "scene": "trabecula_small", "patient": "postmenopausal",
        "time": {"length": "2 d"}, "population": {"dormant_dtc": 4}, "record": {"series": "1 d"},
        "arms": {"control": {}, "drug": {"regimen": "zoledronate_q4w"}},
    })  # fmt: skip
    target = tmp_path_factory.mktemp("page") / "result"
    write_result(target, ns.run_experiment(experiment), experiment)
    return ns.load(target)


def read_colour(text):
    return tuple(int(part, 16) for part in re.findall("..", text[1:]))


def count_colours(tab):
    """Every colour that some pixel of the chart of suitability has; its lines lie apart."""
    code = """() => {
      const canvas = charts.find(plot => plot.box.querySelector("h3").textContent === "Suitability at bone").ctx.canvas;
      const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      const seen = new Set();
      for (let i = 0; i < pixels.length; i += 4) if (pixels[i + 3] === 255) seen.add(pixels.slice(i, i + 3).join());
      return [...seen];
    }"""
    return {tuple(map(int, text.split(","))) for text in tab.evaluate(code)}


@pytest.mark.parametrize("width", [1280, 390])
def test_charts_can_be_read_zoomed_and_switched(result, browser, width):
    tab = browser.new_page(viewport={"width": width, "height": 844})
    said, asked = [], []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    address = write_report(result.directory).absolute().as_uri()
    tab.goto(address)
    assert tab.evaluate("window.broken") is None
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    count = tab.evaluate("charts.length")
    assert count == tab.evaluate("DATA.charts.length + DATA.fates.length + 1") > 10
    assert {read_colour(arm["colour"]) for arm in tab.evaluate("DATA.arms")} <= count_colours(tab)
    area = tab.locator(".u-over").first
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    readout = tab.locator(".readout").first.inner_text()
    assert readout.splitlines() == ["1 days", "control 4 cells", "drug 4 cells"]
    tab.mouse.down()
    tab.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 20, steps=4)
    tab.mouse.up()
    assert tab.evaluate("charts.every(plot => Math.abs(plot.scales.x.min - 1) < 0.05)")  # all zoom together
    tab.click("#all")
    assert tab.evaluate("charts.every(plot => plot.scales.x.min === 0 && plot.scales.x.max === 2)")
    tab.click("button.arm >> nth=1")
    assert tab.evaluate("charts.every(plot => plot.lines.every((line, i) => plot.series[i + 1].show === (line.arm === 0)))")
    tab.select_option("#columns", "osteoclasts")
    assert tab.evaluate("charts.length") == count and tab.locator("#column h3").inner_text() == "osteoclasts"
    tab.fill("#filter", "dormancy exit")
    tab.click("button.status[data-status=assumed]")
    wanted = [row for row in list_numbers(result.manifest["sources"]) if row["status"] == "assumed"
              and all(word in f"{row['name']} {row['note']}".lower() for word in ("dormancy", "exit"))]  # fmt: skip
    shown = tab.locator("#numbers tbody tr:visible").count()
    assert shown == len(wanted) < 20 and tab.inner_text("#shown").startswith(f"{shown} of ")
    assert said == [] and asked == [address, *(url for url in asked[1:] if url.startswith("data:"))]
    tab.close()
