// The runs of a record as lines: what Python sends in columns, grouped by rule, size and value.
"use strict";

const EARLY = ["diverged", "stopped", "failed"];

/** Returns a column as an array, texts in place of their numbers. */
function column(record, name) {
  const values = record.columns[name];
  if (values === undefined || Array.isArray(values)) return values;
  record.columns[name] = values.codes.map((code) => values.names[code]);
  return record.columns[name];
}

/** Returns the text of a size along the axes that vary, such as "width 64". */
function sizeText(record, number, axes = record.axes) {
  const shown = axes.length ? axes : record.sizeAxes;
  const size = record.sizes[number];
  return shown.map((axis) => `${axis} ${shortNumber(size[record.sizeAxes.indexOf(axis)])}`).join(", ");
}

function axisValue(record, number, axis) {
  return record.sizes[number][record.sizeAxes.indexOf(axis)];
}

/** Returns the values of an axis, ascending. */
function axisValues(record, axis) {
  const values = record.sizes.map((_, number) => axisValue(record, number, axis));
  return [...new Set(values)].sort((a, b) => a - b);
}

/** The scale of betas: an average that keeps a share x of itself remembers 1 / (1 - x) steps. */
const MEMORY = "log2(1/(1-x))";

/** Returns the value at a place on the scale of its hyperparameter. */
function valueAt(hyperparameter, place) {
  if (hyperparameter.scale === MEMORY) return 1 - 2 ** -place;
  return hyperparameter.scale === "log2" ? 2 ** place : place;
}

/** Returns the place of a value on the scale of its hyperparameter. */
function placeOf(hyperparameter, value) {
  if (hyperparameter.scale === "log2") return Math.log2(value);
  if (hyperparameter.scale === MEMORY) return -Math.log2(1 - value);
  return hyperparameter.scale === "choice" ? hyperparameter.choices.indexOf(String(value)) : value;
}

const SUPERSCRIPTS = { "-": "⁻", ".": "·" };
[..."⁰¹²³⁴⁵⁶⁷⁸⁹"].forEach((sign, digit) => (SUPERSCRIPTS[digit] = sign));

/** Returns a power of two as it is written: 2⁻⁷. */
function power(exponent) {
  return "2" + [...String(Number(exponent.toFixed(2)))].map((each) => SUPERSCRIPTS[each]).join("");
}

function shortNumber(value) {
  if (typeof value !== "number") return String(value ?? "");
  const size = Math.abs(value);
  if (size >= 1e5) return value.toExponential(2).replace(/\.?0*e\+?/, "e");
  return size >= 1e-4 || size === 0 ? String(Number(value.toPrecision(4))) : value.toExponential(2);
}

/** Returns a beta with as many digits as its distance to 1 needs. */
function betaText(value) {
  const digits = value > 0 && value < 1 ? Math.ceil(-Math.log10(1 - value) - 1e-9) + 1 : 3;
  return value > 0 && value < 1 ? String(Number(value.toFixed(Math.min(digits, 16)))) : shortNumber(value);
}

/** Returns a value of a hyperparameter as text, rates with their power of two. */
function valueText(hyperparameter, value) {
  if (hyperparameter.scale === MEMORY) return betaText(value);
  if (hyperparameter.scale !== "log2") return shortNumber(value);
  return `${shortNumber(value)} (${power(Math.log2(value))})`;
}

/** Returns the lines of the chosen hyperparameter and metric, one a rule and size. */
function linesOf(record, choice) {
  const hyperparameter = record.hyperparameters.find((each) => each.name === choice.over);
  const own = record.lines[choice.over][choice.metric];
  const all = own ?? record.columns.seed.map((_, run) => run);
  const values = column(record, `at ${choice.over}`);
  const lines = new Map();
  for (const run of all) {
    const [rule, size] = [record.columns.rule[run], record.columns.size[run]];
    if (values[run] === null || !isShown(record, choice, rule, size)) continue;
    const key = `${rule} ${size}`;
    if (!lines.has(key)) lines.set(key, { rule: record.rules[rule], size, points: new Map() });
    const points = lines.get(key).points;
    if (!points.has(values[run])) points.set(values[run], []);
    points.get(values[run]).push(run);
  }
  return [...lines.values()].map((line) => finished(record, choice, hyperparameter, line));
}

function isShown(record, choice, rule, size) {
  if (!choice.rules.includes(record.rules[rule])) return false;
  if (choice.hidden.includes(String(axisValue(record, size, choice.axis)))) return false;
  return Object.entries(choice.fixed).every(
    ([axis, value]) => value === "all" || String(axisValue(record, size, axis)) === value,
  );
}

/** Returns a line with its points in order, their means, and its optimum. */
function finished(record, choice, hyperparameter, line) {
  // 0 has no place on a logarithmic scale, nor has a beta of 1.
  const points = [...line.points]
    .map(([value, runs]) => pointOf(record, choice, value, placeOf(hyperparameter, value), runs))
    .filter((each) => Number.isFinite(each.place));
  points.sort((a, b) => a.place - b.place);
  const best = record.optima.find(
    (each) =>
      each.over === choice.over &&
      each.metric === choice.metric &&
      each.rule === line.rule &&
      each.size === line.size,
  );
  const lowest = points.filter((each) => each.mean !== null).sort((a, b) => a.mean - b.mean)[0];
  return { ...line, points, best, lowest, at: axisValue(record, line.size, choice.axis) };
}

/** Returns the runs at one value: their mean, none where a seed has no loss. */
function pointOf(record, choice, value, place, runs) {
  const statuses = column(record, "status");
  const metric = record.columns[`by ${choice.metric}`];
  const ran = runs.filter((run) => statuses[run] !== "failed");
  const losses = ran.map((run) => metric[run]).filter((loss) => loss !== null);
  const early = Object.fromEntries(
    EARLY.map((name) => [name, runs.filter((run) => statuses[run] === name).length]),
  );
  // A table from elsewhere has no statuses: what has no loss diverged.
  early.diverged = Math.max(early.diverged, ran.length - losses.length - early.stopped);
  const whole = losses.length > 0 && losses.length === ran.length;
  const mean = whole ? losses.reduce((a, b) => a + b) / losses.length : null;
  const ends = whole ? [Math.min(...losses), Math.max(...losses)] : [null, null];
  return { value, place, runs, losses, early, mean, low: ends[0], high: ends[1] };
}

/** Returns the limits of a chart: all losses but those that would flatten the rest. */
function frameOf(lines, hyperparameter, isCrowded) {
  const points = lines.flatMap((line) => line.points);
  const places = points.map((point) => point.place);
  const losses = points.flatMap((point) => (point.mean === null ? [] : point.losses));
  const starts = lines.flatMap((line) => line.points.filter((p) => p.mean !== null).slice(0, 1));
  let [low, high] = losses.length ? [Math.min(...losses), Math.max(...losses)] : [0, 1];
  // At the lowest rates training hardly starts: what lies far above is on the way to divergence.
  const start = Math.max(...starts.map((point) => point.mean));
  // Of many sizes in one panel only the valleys can be told apart.
  if (low > 0) high = Math.min(high, isCrowded ? 1.02 * start : Math.max(10 * low, 2 * start));
  const log = low > 0 && high > 3 * low;
  const room = log ? (high / low) ** 0.06 : 0.06 * (high - low || Math.abs(high) || 1);
  const [left, right] = places.length ? [Math.min(...places), Math.max(...places)] : [0, 1];
  const side = hyperparameter.scale === "linear" ? 0.05 * (right - left || 1) : 0.4;
  return {
    x: [left - side, right + side],
    y: log ? [low / room, high * room] : [low - room, high + room],
    log,
  };
}

/** Returns the height of a line at a place, between its neighbours. */
function heightAt(line, place, log) {
  const points = line.points.filter((point) => point.mean !== null);
  if (!points.length) return null;
  const right = points.findIndex((point) => point.place >= place);
  if (right <= 0) return points.at(right === 0 ? 0 : -1).mean;
  const [a, b] = [points[right - 1], points[right]];
  const share = (place - a.place) / (b.place - a.place);
  if (log) return a.mean * (b.mean / a.mean) ** share;
  return a.mean + share * (b.mean - a.mean);
}
