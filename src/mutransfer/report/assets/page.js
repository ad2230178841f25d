// The page: what the reader chose, the controls, and what is drawn for it.
"use strict";

const page = JSON.parse(document.getElementById("data").textContent);
const MOST_PICKED = 12;
let chosen = restored() ?? usualChoice(0);

/** Returns the choice that a record opens with. */
function usualChoice(number, over) {
  const record = page.records[number];
  const first = record.hyperparameters.find((each) => each.name === over) ?? record.hyperparameters[0];
  const axis = record.axes.includes(first.axis) ? first.axis : record.axes[0] ?? record.sizeAxes[0];
  const fixed = fixedFor(record, axis);
  return {
    record: number,
    over: first.name,
    metric: record.metric,
    axis,
    fixed,
    rules: [...record.rules],
    hidden: [],
    seeds: false,
    zoom: null,
    picked: [],
  };
}

/** Returns the values of the other axes at which most sizes lie; all where these are few. */
function fixedFor(record, axis) {
  const others = record.axes.filter((each) => each !== axis);
  const counts = new Map();
  record.sizes.forEach((_, size) => {
    const key = JSON.stringify(others.map((other) => String(axisValue(record, size, other))));
    counts.set(key, (counts.get(key) ?? new Set()).add(axisValue(record, size, axis)));
  });
  const [key, values] = [...counts].reduce((a, b) => (b[1].size > a[1].size ? b : a));
  const few = values.size < 2 && axisValues(record, axis).length > 1;
  return Object.fromEntries(others.map((other, number) => [other, few ? "all" : JSON.parse(key)[number]]));
}

/** Returns the choice in the address, which a reload keeps. */
function restored() {
  try {
    const choice = JSON.parse(decodeURIComponent(location.hash.slice(1)));
    const record = page.records[choice.record];
    const known = record.hyperparameters.some((each) => each.name === choice.over);
    return known && record.metrics.some((each) => each.name === choice.metric) ? choice : null;
  } catch {
    return null;
  }
}

function choose(change) {
  chosen = { ...chosen, ...change };
  const text = `#${encodeURIComponent(JSON.stringify(chosen))}`;
  // A page in a frame, or opened from an archive, may not have its address changed.
  try {
    history.replaceState(null, "", text);
  } catch {
    /* the choice lasts as long as the page */
  }
  show();
}

function pick(mark) {
  const known = mark.runs.every((run) => chosen.picked.includes(run));
  const others = chosen.picked.filter((run) => !mark.runs.includes(run));
  choose({ picked: (known ? others : [...others, ...mark.runs]).slice(-MOST_PICKED) });
}

/** Draws everything that depends on the choice. */
function show() {
  const record = page.records[chosen.record];
  showControls(record);
  showLegend(record);
  drawTransfer(document.getElementById("panels"), record, chosen, pick, (zoom) => choose({ zoom }));
  showCurves(record);
  showFound(record);
}

function showFound(record) {
  const get = (id) => document.getElementById(id);
  get("found").hidden = !drawLaws(get("laws"), record, chosen);
  drawRegrets(get("regrets"), record, chosen);
  get("surfaces").hidden = !record.surfaces.length;
  if (!record.surfaces.length) return;
  const names = record.surfaces.map(({ size, over }) => [`${size},${over}`, `${over.join(" and ")} at ${sizeText(record, size)}`]);
  const value = surfaceChoice(record, chosen).join();
  const unique = [...new Map(names)];
  get("surface-controls").replaceChildren(select("surface", unique, value, (surface) => choose({ surface })));
  drawSurfaces(get("surface-panels"), record, chosen);
}

/** Reads the page again after a while, but not under the hands of a reader. */
function follow(pause) {
  let last = -Infinity;
  for (const kind of ["pointerdown", "keydown", "wheel"]) addEventListener(kind, () => (last = performance.now()));
  setInterval(() => performance.now() - last > pause && location.reload(), pause);
}

/** Draws what does not depend on the choice, and reads the page again while a sweep runs. */
function begin() {
  document.getElementById("clear").onclick = () => choose({ picked: [] });
  document.documentElement.classList.add("live");
  show();
  document.getElementById("checks").hidden = !page.checks.length;
  drawChecks(document.getElementById("check-panels"));
  showTables(document.getElementById("tables"));
  const seconds = Number(document.documentElement.dataset.refresh);
  if (seconds) follow(1000 * seconds);
}

function showControls(record) {
  const form = document.getElementById("controls");
  const active = document.activeElement?.id;
  const fields = [];
  if (page.records.length > 1) {
    const names = page.records.map((each, number) => [String(number), each.title]);
    fields.push(select("study", names, String(chosen.record), (value) => choose(usualChoice(Number(value)))));
  }
  if (record.hyperparameters.length > 1) {
    const names = record.hyperparameters.map((each) => [each.name, each.label]);
    fields.push(select("hyperparameter", names, chosen.over, (over) =>
      choose({ ...usualChoice(chosen.record, over), metric: chosen.metric, rules: chosen.rules })));
  }
  if (record.metrics.length > 1) {
    const names = record.metrics.map((each) => [each.name, each.label]);
    fields.push(select("metric", names, chosen.metric, (metric) => choose({ metric, zoom: null })));
  }
  if (record.axes.length > 1) {
    const names = record.axes.map((axis) => [axis, axis]);
    fields.push(select("lines by", names, chosen.axis, (axis) => {
      choose({ axis, fixed: fixedFor(record, axis), hidden: [], zoom: null });
    }));
  }
  for (const axis of Object.keys(chosen.fixed)) {
    const names = axisValues(record, axis).map((value) => [String(value), shortNumber(value)]);
    fields.push(select(axis, [...names, ["all", "all"]], chosen.fixed[axis], (value) =>
      choose({ fixed: { ...chosen.fixed, [axis]: value }, zoom: null })));
  }
  if (record.rules.length > 1) {
    const boxes = record.rules.map((rule) => checkbox(rule, chosen.rules.includes(rule), (on) =>
      choose({ rules: record.rules.filter((each) => (each === rule ? on : chosen.rules.includes(each))) })));
    fields.push(make("fieldset", {}, make("legend", {}, "rules"), ...boxes));
  }
  fields.push(make("fieldset", {}, make("legend", {}, "show"),
    checkbox("every run", chosen.seeds, (seeds) => choose({ seeds })),
    button("closer", () => choose({ zoom: scaled(record, 0.6) })),
    button("wider", () => choose({ zoom: scaled(record, 1 / 0.6) })),
    button("all", () => choose({ zoom: null }), { disabled: !chosen.zoom })));
  form.replaceChildren(...fields);
  if (active) document.getElementById(active)?.focus();
}

/** Returns the zoom that is closer or wider, about the lowest loss. */
function scaled(record, factor) {
  const hyperparameter = record.hyperparameters.find((each) => each.name === chosen.over);
  const lines = linesOf(record, chosen);
  const frame = frameOf(lines, hyperparameter, Object.values(chosen.fixed).includes("all"));
  const { x, y } = chosen.zoom ?? frame;
  const lowest = lines.map((line) => line.lowest).filter(Boolean).sort((a, b) => a.mean - b.mean)[0];
  const middle = lowest ? Math.min(Math.max(lowest.place, x[0]), x[1]) : (x[0] + x[1]) / 2;
  const toward = (low, high, place) => [place - factor * (place - low), place + factor * (high - place)];
  const isLog = frame.log && y[0] > 0;
  const [low, high] = isLog ? y.map(Math.log) : y;
  const near = toward(low, high, low);
  return { x: toward(x[0], x[1], middle), y: isLog ? near.map(Math.exp) : near };
}

function showLegend(record) {
  const values = axisValues(record, chosen.axis);
  const chips = values.map((value, rank) => {
    const hidden = chosen.hidden.includes(String(value));
    const swatch = make("span", { class: "swatch", style: `background:${shade(values.length > 1 ? rank / (values.length - 1) : 1)}` });
    const toggle = () => choose({ hidden: hidden ? chosen.hidden.filter((each) => each !== String(value)) : [...chosen.hidden, String(value)] });
    return make("button", { type: "button", id: `size-${value}`, "aria-pressed": String(!hidden), onclick: toggle }, swatch, shortNumber(value));
  });
  const active = document.activeElement?.id;
  document.getElementById("legend").replaceChildren(make("span", {}, chosen.axis), ...chips);
  if (active?.startsWith("size-")) document.getElementById(active)?.focus();
}

/** Shows the curves of the picked runs, or of the best of each line. */
function showCurves(record) {
  const box = document.getElementById("curves");
  const isPicked = chosen.picked.length > 0;
  const bests = linesOf(record, chosen).map((line) => line.lowest?.runs[0]).filter((run) => run !== undefined);
  const runs = isPicked ? chosen.picked : bests.slice(0, 8);
  const colors = runs.map((_, number) => `var(--c${number % 8})`);
  box.hidden = !runs.length;
  document.getElementById("curves-what").textContent = isPicked
    ? "The runs of the points that were picked. Picking a point again takes its runs away."
    : "The best value of each line. A click on a point, or Enter, shows the runs behind it.";
  document.getElementById("clear").hidden = !isPicked;
  const chart = document.getElementById("curves-chart");
  chart.hidden = !(record.curves && runs.length);
  if (!chart.hidden) chart.hidden = !drawCurves(chart, record, runs, colors);
  document.getElementById("curves-table").replaceChildren(runTable(record, runs, colors));
}

/** Returns a table of a few runs, with the colours of their curves. */
function runTable(record, runs, colors) {
  const names = record.hyperparameters.map((each) => each.label);
  const metrics = record.metrics.map((each) => each.label);
  const head = ["", "rule", "size", ...names, "seed", "status", ...metrics];
  const messages = column(record, "message");
  const body = runs.map((run, number) => {
    const values = record.hyperparameters.map((each) => valueText(each, column(record, `at ${each.name}`)[run]));
    const losses = record.metrics.map((each) => shortNumber(record.columns[`by ${each.name}`][run]));
    const status = [column(record, "status")[run], messages?.[run]].filter(Boolean).join(": ");
    const rule = record.rules[record.columns.rule[run]];
    const cells = [rule, sizeText(record, record.columns.size[run]), ...values, record.columns.seed[run], status, ...losses];
    const swatch = make("span", { class: "swatch", style: `background:${colors[number]}` });
    return make("tr", {}, make("td", {}, swatch), ...cells.map((cell) => make("td", {}, String(cell))));
  });
  const row = make("tr", {}, ...head.map((name) => make(name ? "th" : "td", name ? { scope: "col" } : {}, name)));
  return make("table", {}, make("thead", {}, row), make("tbody", {}, ...body));
}

function select(label, options, value, onchange) {
  const id = `choose-${label.replace(/\W/g, "-")}`;
  const own = options.map(([name, text]) => make("option", { value: name, selected: name === value }, text));
  return make("label", { for: id }, make("span", {}, label),
    make("select", { id, onchange: (event) => onchange(event.target.value) }, ...own));
}

function checkbox(label, checked, onchange) {
  const id = `show-${label.replace(/\W/g, "-")}`;
  const box = make("input", { type: "checkbox", id, checked, onchange: (event) => onchange(event.target.checked) });
  return make("label", { class: "box", for: id }, box, label);
}

function button(label, onclick, more = {}) {
  return make("button", { type: "button", id: `do-${label}`, onclick, ...more }, label);
}

try {
  begin();
} catch (error) {
  // Better the figures of a page without scripts than half a page.
  document.documentElement.classList.remove("live");
  for (const each of document.querySelectorAll("main noscript")) {
    each.insertAdjacentHTML("afterend", each.textContent);
  }
  throw error;
}
let width = innerWidth;
window.addEventListener("resize", () => {
  if (innerWidth === width) return;
  width = innerWidth;
  requestAnimationFrame(() => {
    show();
    drawChecks(document.getElementById("check-panels"));
  });
});
performance.mark("drawn");
document.documentElement.dataset.ready = "true";
