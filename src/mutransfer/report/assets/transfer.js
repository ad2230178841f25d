// The transfer plot: a panel for each rule, a line for each size, and the runs behind a point.
"use strict";

/** Draws the panels of the chosen rules into an element. */
function drawTransfer(element, record, choice, onPick, onZoom) {
  const hyperparameter = record.hyperparameters.find((each) => each.name === choice.over);
  const lines = linesOf(record, choice);
  const values = axisValues(record, choice.axis);
  for (const line of lines) {
    line.rank = values.indexOf(line.at);
    line.color = shade(values.length > 1 ? line.rank / (values.length - 1) : 1);
    line.name = sizeText(record, line.size);
  }
  const isCrowded = Object.values(choice.fixed).includes("all");
  const frame = frameOf(lines, hyperparameter, isCrowded);
  const rules = record.rules.filter((rule) => lines.some((line) => line.rule === rule));
  element.style.setProperty("--panels", Math.min(rules.length, 3) || 1);
  const active = [...element.querySelectorAll(".chart")].find((each) => each === document.activeElement);
  const [focus, at] = active ? [active.panel.rule, active.panel.at] : [];
  empty(element);
  if (!rules.length) element.append(make("p", {}, "No runs are chosen."));
  const panels = rules.map((rule) => {
    const own = lines.filter((line) => line.rule === rule).sort((a, b) => a.rank - b.rank);
    const label = `${rule}: ${describe(choice, hyperparameter, own)} ${KEYS}`;
    const group = { role: "group", "aria-roledescription": "chart", "aria-label": label };
    const chart = make("div", { class: "chart", tabindex: 0, ...group });
    element.append(make("figure", {}, make("h3", {}, rule), chart));
    const zoom = choice.zoom ?? frame;
    chart.panel = { chart, rule, record, choice, hyperparameter, lines: own, frame, zoom };
    return chart.panel;
  });
  // Drawn once all are in their places, so that their width is known.
  for (const panel of panels) panel.marks = marksOf(panel);
  const isEarly = panels.some(({ marks }) => marks.some((mark) => mark.kind === "early"));
  for (const panel of panels) drawPanel(panel, isEarly ? values.length : 0, onPick, onZoom);
  const focused = panels.find((panel) => panel.rule === focus);
  focused?.chart.focus({ preventScroll: true });
  if (at && focused?.lines[at[0]]?.points[at[1]]) moveCursor(focused, at);
}

const KEYS = "Arrow keys go from point to point; Enter shows the curves of its runs.";

function marksOf(panel) {
  return [...panel.lines.flatMap((line) => lineMarks(panel, line)), ...pathMarks(panel)];
}

/** Draws a panel; so many rows of crosses have room above it, as above the others. */
function drawPanel(panel, rows, onPick, onZoom) {
  const { chart, hyperparameter, record, choice, frame, zoom, marks } = panel;
  const strip = rows ? 7 * rows + 6 : 0;
  // A mark that nobody sees, so that panels with and without crosses are of one height.
  if (rows) marks.push(earlyMark({ x: frame.x[0], color: "transparent" }, "diverged", rows - 1, 1));
  const { ticks, labels } = placeTicks(hyperparameter, zoom.x, chart.clientWidth - 60);
  const isLog = frame.log && zoom.y[0] > 0;
  const view = draw(chart, "transfer", marks, {
    height: (chart.clientWidth > 600 ? 360 : 300) + strip,
    xTitle: hyperparameter.axisLabel,
    yTitle: record.metrics.find((each) => each.name === choice.metric).label,
    xDomain: zoom.x,
    yDomain: zoom.y,
    yScale: isLog ? "log" : "linear",
    xTicks: ticks,
    xLabels: labels,
    yTicks: lossTicks(zoom.y, isLog),
    yLabels: isLog ? NUMBERS : undefined,
  });
  listen(view, chart, marks, onPick);
  let box = null;
  view.addDataListener("brush_store", (_, rows) => (box = rows[0]?.values ?? null));
  chart.onpointerup = () => {
    const [x, y] = (box ?? []).map((ends) => [...ends].sort((a, b) => a - b));
    if (y && x[1] - x[0] > 0.03 * (zoom.x[1] - zoom.x[0])) onZoom({ x, y });
  };
  chart.ondblclick = () => onZoom(null);
  chart.onkeydown = (event) => steer(panel, event, onPick);
  chart.onblur = () => moveCursor(panel, null);
}

/** Returns the marks of one line. */
function lineMarks({ record, choice, hyperparameter, frame, zoom }, line) {
  const top = Math.max(frame.y[1], zoom.y[1]);
  const marks = [];
  line.points.forEach((each, number) => {
    const text = pointText(record, choice, hyperparameter, line, each);
    const base = { color: line.color, size: line.name, x: each.place, runs: each.runs, text };
    marks.push({ kind: "line", ...base, y: each.mean, low: each.low, high: each.high });
    if (each.mean !== null) marks.push({ kind: "point", ...base, y: each.mean });
    if (choice.seeds && each.losses.length > 1) {
      marks.push(...each.losses.map((loss) => ({ kind: "run", ...base, y: loss })));
    }
    marks.push(...earlyMarks(each, base, line.rank));
    for (const other of [line.points[number - 1], line.points[number + 1]]) {
      if (each.mean === null || !other?.early.diverged || other.mean !== null) continue;
      const out = { kind: "out", color: line.color, way: `${line.name} ${number} ${other.place}` };
      marks.push({ ...out, x: each.place, y: each.mean }, { ...out, x: other.place, y: top });
    }
  });
  return marks;
}

const EARLY_MARKS = {
  diverged: "M-1,-1L1,1M-1,1L1,-1",
  stopped: "M-1,0L1,0",
  failed: "M-1,-.8L1,-.8L0,.9Z",
};

/** Returns crosses above the panel for runs that did not come to their end. */
function earlyMarks(point, base, rank) {
  return EARLY.filter((name) => point.early[name]).map((name) =>
    earlyMark(base, name, rank, point.early[name] < point.runs.length ? 0.45 : 1),
  );
}

function earlyMark(base, name, rank, share) {
  return { ...base, kind: "early", y: 1, top: -6 - 7 * rank, mark: EARLY_MARKS[name], share };
}

/** Returns each line's optimum, and the way from one to the next. */
function pathMarks({ choice, hyperparameter, frame, lines }) {
  const isPath = !Object.values(choice.fixed).includes("all");
  return lines.flatMap((line, order) => {
    if (!line.best) return [];
    const { place, low, high } = line.best;
    const y = heightAt(line, place, frame.log);
    const text = [`optimum at ${line.name}`, ...bestText(hyperparameter, line.best)];
    const mark = { x: place, y, order, color: line.color, low, high, text };
    return [{ kind: "optimum", ...mark }, ...(isPath ? [{ kind: "path", ...mark }] : [])];
  });
}

function bestText(hyperparameter, { place, low, high }) {
  const isPower = hyperparameter.scale === "log2";
  const text = (at) => (isPower ? power(at) : valueText(hyperparameter, valueAt(hyperparameter, at)));
  const value = isPower ? ` (${shortNumber(2 ** place)})` : "";
  return [`${text(place)}${value}`, `95% interval ${text(low)} to ${text(high)}`];
}

/** Returns the lines of text that hovering over a point shows. */
function pointText(record, choice, hyperparameter, line, point) {
  const metric = record.columns[`by ${choice.metric}`];
  const statuses = column(record, "status");
  const messages = column(record, "message");
  const runs = point.runs.slice(0, 8).map((run) => {
    const ended = [statuses[run], messages?.[run].slice(0, 80)].filter(Boolean).join(": ");
    const loss = metric[run] === null ? ended : shortNumber(metric[run]);
    return `seed ${record.columns.seed[run]}: ${loss}`;
  });
  const more = point.runs.length > 8 ? [`and ${point.runs.length - 8} more`] : [];
  const mean = point.mean === null || point.runs.length === 1 ? [] : [`mean ${shortNumber(point.mean)}`];
  const where = `${hyperparameter.label} ${valueText(hyperparameter, point.value)}`;
  return [`${line.rule}, ${line.name}`, where, ...mean, ...runs, ...more];
}

/** Returns a panel in words. */
function describe(choice, hyperparameter, lines) {
  const bests = lines.filter((line) => line.best);
  if (!bests.length) return `${lines.length} sizes without a known optimum.`;
  const [first, last] = [bests[0], bests.at(-1)];
  const text = (line) => `${bestText(hyperparameter, line.best)[0]} at ${line.name}`;
  return first === last ? `lowest at ${text(first)}.` : `lowest at ${text(first)}, and at ${text(last)}.`;
}

/** Moves through the points of a panel by the keyboard. */
function steer(panel, event, onPick) {
  const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [1, 0], ArrowDown: [-1, 0] };
  const { lines, at } = panel;
  if (event.key === "Escape") return moveCursor(panel, null);
  if ((event.key === "Enter" || event.key === " ") && at) {
    event.preventDefault();
    return onPick({ runs: lines[at[0]].points[at[1]].runs });
  }
  if (!moves[event.key]) return undefined;
  event.preventDefault();
  const [line, point] = at ?? [0, -1];
  const [down, right] = at ? moves[event.key] : [0, 1];
  const next = Math.min(Math.max(line + down, 0), lines.length - 1);
  const most = lines[next].points.length - 1;
  return moveCursor(panel, [next, Math.min(Math.max(point + right, 0), most)]);
}

function moveCursor(panel, at) {
  if (at === null && !panel.at) return;
  panel.at = at;
  const point = at && panel.lines[at[0]].points[at[1]];
  const line = at && panel.lines[at[0]];
  const height = point?.mean ?? panel.zoom.y[1];
  const cursor = at ? [{ kind: "cursor", x: point.place, y: height }] : [];
  panel.chart.view.data("marks", [...panel.marks, ...cursor]).run();
  const { record, choice, hyperparameter } = panel;
  const words = at ? pointText(record, choice, hyperparameter, line, point).join("; ") : "";
  document.getElementById("said").textContent = words;
}

/** Draws the loss curves of runs, each in its colour, and returns whether there are any. */
function drawCurves(element, record, runs, colors) {
  const { steps, of, losses } = record.curves;
  const marks = [];
  runs.forEach((run, number) => {
    const rows = losses[run].map((y, each) => ({ x: steps[of[run]][each], y }));
    const shown = rows.filter((row) => row.y !== null && row.y > 0);
    const base = { name: String(run), color: colors[number] };
    marks.push(...shown.map((row) => ({ kind: "curve", ...base, ...row })));
    if (shown.length < rows.length) marks.push({ kind: "end", ...base, ...shown.at(-1) });
  });
  const curves = marks.filter((mark) => mark.kind === "curve");
  if (!curves.length) return false;
  const heights = curves.map((mark) => mark.y);
  const firsts = runs.map((run) => losses[run][0]).filter((loss) => loss > 0);
  const y = [Math.min(...heights) / 1.05, 1.05 * Math.min(Math.max(...heights), 3 * Math.max(...firsts))];
  draw(element, "curves", marks, {
    height: 260,
    xTitle: "step",
    xStep: 1,
    yTitle: "training loss",
    yScale: "log",
    xDomain: [Math.min(...curves.map((mark) => mark.x)), Math.max(...curves.map((mark) => mark.x))],
    yDomain: y,
    yTicks: lossTicks(y, true),
    yLabels: NUMBERS,
  });
  return true;
}
