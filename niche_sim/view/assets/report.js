// The charts, the filter of numbers and the switches of arms of a report. Nothing here fetches anything.
"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);
const hidden = new Set();
const charts = [];
let zooming = false;

const show = value => value === null || value === undefined ? "–" : String(Number(value.toPrecision(4)));

function element(name, parent, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  parent.appendChild(made);
  return made;
}

function readOut(plot) {
  const index = plot.cursor.idx, out = plot.readout;
  out.replaceChildren();
  plot.brief.replaceChildren();
  if (index === null || index === undefined) return;
  const right = plot.cursor.left > plot.over.clientWidth / 2;
  out.style[right ? "left" : "right"] = "4px";
  out.style[right ? "right" : "left"] = "auto";
  const pointed = plot.over.matches(":hover");  // the others show their values beside the unit, in the colours of the arms
  if (pointed) element("b", out, "", show(plot.data[0][index]) + " " + DATA.unit);
  DATA.arms.forEach((arm, number) => {
    if (hidden.has(number)) return;
    const at = role => plot.lines.findIndex(line => line.arm === number && line.role === role);
    const read = role => show(plot.data[at(role) + 1][index]);
    element("span", plot.brief, "", read("main")).style.color = arm.colour;
    if (!pointed) return;
    const item = element("span", out);
    element("i", item).style.background = arm.colour;
    item.append(`${arm.name} ${read("main")} ${plot.short}`);
    if (at("low") >= 0) item.append(` [${read("low")}, ${read("high")}]`);
    if (at("dotted") >= 0) item.append(`, dotted ${read("dotted")}`);
  });
}

function zoom(low, high) {
  zooming = true;
  for (const plot of charts) plot.setScale("x", {min: low, max: high});
  zooming = false;
  document.getElementById("from").value = show(low);
  document.getElementById("to").value = show(high);
}

function look(line, chart) {
  const arm = DATA.arms[line.arm], width = {main: 2, dotted: 1.2, raw: 0.8, low: 0, high: 0}[line.role];
  const made = {label: arm.name, show: !hidden.has(line.arm), stroke: arm.colour + (line.role === "raw" ? "55" : ""), width,
    points: {show: false}, spanGaps: true, auto: line.role !== "raw"};
  if (line.role === "dotted") made.dash = [2, 3];
  if (line.role === "main" && arm.dash.length) made.dash = arm.dash;
  if (chart.steps) made.paths = uPlot.paths.stepped({align: 1});
  return made;
}

function draw(parent, chart, height) {
  const box = element("div", parent, "chart");
  element("h3", box, "", chart.title);
  const unit = element("p", box, "unit", chart.unit + " ");
  const expand = values => values.length === 1 ? DATA.x.map(() => values[0]) : values;
  const axis = {stroke: "#555", font: "12px system-ui, sans-serif", grid: {stroke: "#ececec", width: 1}, ticks: {stroke: "#bbb", size: 4}};
  const y = chart.log ? {distr: 4, asinh: chart.log} : {range: (plot, low, high) => {
    if (low === null || low === undefined) return [0, 1];
    const room = 0.06 * (high - low || Math.abs(high) || 1);
    return [chart.zero ? Math.min(0, low) : low - room, high + room];
  }};
  const whole = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5];
  const decades = plot => {
    const top = Math.floor(Math.log10(plot.scales.y.max));
    return [0, 10 ** (top - 2), 10 ** top];
  };
  const ticks = chart.log ? {splits: decades} : chart.steps ? {incrs: whole} : {};
  const bands = [];
  chart.lines.forEach((line, i) => {
    if (line.role === "high") bands.push({series: [i + 1, i], fill: DATA.arms[line.arm].colour + "29"});
  });
  const plot = new uPlot({
    width: Math.max(200, box.clientWidth), height, legend: {show: false}, bands,
    scales: {x: {time: false}, y},
    axes: [{...axis, size: 26, label: DATA.unit, labelSize: 16, labelFont: "12px system-ui, sans-serif"},
      {...axis, ...ticks, size: 56, values: (self, ticks) => ticks.map(tick => tick === null ? "" : String(Number(tick.toPrecision(3))))}],
    series: [{}, ...chart.lines.map(line => look(line, chart))],
    cursor: {y: false, sync: {key: "time", setSeries: false}, drag: {x: true, y: false},
      points: {size: (self, i) => ["main", "dotted"].includes(chart.lines[i - 1].role) ? 6 : 0}},
    hooks: {
      setCursor: [readOut],
      setScale: [(self, key) => { if (key === "x" && !zooming && self.ready) zoom(self.scales.x.min, self.scales.x.max); }],
    },
  }, [DATA.x, ...chart.lines.map(line => expand(line.values))], box);
  const readout = element("div", plot.over, "readout"), brief = element("b", unit);
  Object.assign(plot, {lines: chart.lines, readout, brief, short: chart.unit.split(/[,;]/)[0], box});
  charts.push(plot);
  plot.ready = true;
  return plot;
}

function toggleArm(number, button) {
  hidden.has(number) ? hidden.delete(number) : hidden.add(number);
  button.setAttribute("aria-pressed", String(!hidden.has(number)));
  for (const plot of charts) {
    plot.lines.forEach((line, i) => { if (line.arm === number) plot.setSeries(i + 1, {show: !hidden.has(number)}); });
    readOut(plot);
  }
  for (const row of document.querySelectorAll(`[data-arm="${number}"]`)) row.hidden = hidden.has(number);
}

function drawColumn(name) {
  const place = document.getElementById("column");
  const column = DATA.columns[name];
  const old = charts.findIndex(plot => plot.explorer);
  let range = null;
  if (old >= 0) {
    range = charts[old].scales.x;
    charts.splice(old, 1)[0].destroy();
  }
  place.replaceChildren();
  const lines = column.values.map((values, arm) => ({arm, role: "main", values}));
  const unit = column.unit === "count" ? "number" : column.unit === "1" ? "dimensionless" : column.unit;
  const plot = draw(place, {title: name, unit, lines, steps: column.unit === "count", zero: false, log: 0}, 280);
  plot.explorer = true;
  if (range) plot.setScale("x", {min: range.min, max: range.max});
}

function startCharts() {
  const bar = document.getElementById("arms");
  DATA.arms.forEach((arm, number) => {
    const button = element("button", bar, "arm");
    button.type = "button";
    button.title = arm.regimen;
    button.setAttribute("aria-pressed", "true");
    element("i", button).style.background = arm.colour;
    button.append(arm.name);
    button.addEventListener("click", () => toggleArm(number, button));
  });
  for (const chart of DATA.charts) draw(document.getElementById("charts"), chart, 210);
  for (const chart of DATA.fates) draw(document.getElementById("fates"), chart, 210);
  const select = document.getElementById("columns");
  if (select) {
    for (const [name, column] of Object.entries(DATA.columns)) {
      element("option", select, "", `${name} (${column.unit})`).value = name;
    }
    select.addEventListener("change", () => drawColumn(select.value));
    drawColumn(select.value);
  }
  const first = DATA.x[0], last = DATA.x[DATA.x.length - 1], from = document.getElementById("from"), to = document.getElementById("to");
  const apply = () => { if (Number(from.value) < Number(to.value)) zoom(Number(from.value), Number(to.value)); };
  from.addEventListener("change", apply);
  to.addEventListener("change", apply);
  document.getElementById("all").addEventListener("click", () => zoom(first, last));
  zoom(first, last);
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth === width) return;  // a phone that hides its address bar is not resized
    width = window.innerWidth;
    for (const plot of charts) plot.setSize({width: Math.max(200, plot.box.clientWidth), height: plot.height});
  });
}

function startFilter() {
  const rows = [...document.querySelectorAll("#numbers tbody tr")].map(row => [row, row.textContent.toLowerCase()]);
  const box = document.getElementById("filter"), buttons = [...document.querySelectorAll("button.status")];
  const apply = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = buttons.filter(button => button.getAttribute("aria-pressed") === "true").map(button => button.dataset.status);
    let shown = 0;
    for (const [row, text] of rows) {
      row.hidden = !(words.every(word => text.includes(word)) && (!wanted.length || wanted.includes(row.dataset.status)));
      shown += !row.hidden;
    }
    document.getElementById("shown").textContent = `${shown} of ${rows.length} numbers shown`;
  };
  box.addEventListener("input", apply);
  for (const button of buttons) button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
    apply();
  });
  apply();
}

if (DATA.x) startCharts();
startFilter();
