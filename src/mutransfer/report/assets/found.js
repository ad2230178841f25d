// What was found: the law across sizes, regrets, surfaces of two hyperparameters, coordinate checks.
"use strict";

/** Draws the best value against size, a panel for each rule. */
function drawLaws(element, record, choice) {
  const hyperparameter = record.hyperparameters.find((each) => each.name === choice.over);
  const optima = record.optima.filter((each) => each.over === choice.over && each.metric === choice.metric);
  const isOwn = choice.metric === record.metric;
  const laws = record.laws.filter((each) => isOwn && each.over === choice.over && each.axis === choice.axis);
  const rules = choice.rules.filter((rule) => optima.some((each) => each.rule === rule));
  const values = axisValues(record, choice.axis);
  const other = record.axes.find((axis) => axis !== choice.axis);
  const others = other ? axisValues(record, other) : [];
  element.style.setProperty("--panels", Math.min(rules.length, 3) || 1);
  empty(element);
  if (values.length < 2 || !rules.length) return false;
  const panels = rules.map((rule) => {
    const law = laws.find((each) => each.rule === rule);
    const own = optima.filter((each) => each.rule === rule);
    const marks = lawMarks(record, choice, hyperparameter, own, law, other);
    const said = law?.drift || (isOwn ? "no certificate" : "");
    const chart = chartBox(`${rule}: best ${hyperparameter.label} against ${choice.axis}; ${said}`);
    const texts = [make("h3", {}, rule), make("p", { class: "how" }, said)];
    if (other) texts.push(keysOf(others.map((value, rank) => [shadeOf(rank, others), `${other} ${value}`])));
    element.append(make("figure", {}, ...texts, chart));
    return { chart, marks };
  });
  const all = panels.flatMap((panel) => panel.marks);
  const [x, y] = [
    limits(
      all.map((mark) => mark.x),
      1.1,
      true,
    ),
    limits(heights(all), 0.08),
  ];
  const ticks = placeTicks({ ...hyperparameter, scale: hyperparameter.scale }, y, 400);
  const targets = all.filter((mark) => mark.kind === "target").map((mark) => mark.x);
  const sizes = [...new Set([...values, ...targets])].sort((a, b) => a - b);
  for (const { chart, marks } of panels) {
    const fits = marks.map((mark) => ({
      ...mark,
      low: Math.max(mark.low, y[0]),
      high: Math.min(mark.high, y[1]),
    }));
    const view = draw(chart, "law", fits, {
      height: 240,
      ...sizeAxis(choice.axis, x, sizes),
      yTitle: `best ${hyperparameter.label}`,
      yDomain: y,
      yTicks: ticks.ticks,
      yLabels: ticks.labels,
    });
    listen(view, chart, marks);
  }
  return true;
}

/** Returns the marks of a panel: optima of one size stand side by side, shaded by another axis. */
function lawMarks(record, choice, hyperparameter, optima, law, other) {
  const values = axisValues(record, choice.axis);
  const shades = other ? axisValues(record, other) : values;
  const gap = Math.min(...values.slice(1).map((value, number) => value / values[number]));
  const optimum = optima.map((best) => {
    const at = axisValue(record, best.size, choice.axis);
    const rank = shades.indexOf(axisValue(record, best.size, other ?? choice.axis));
    const aside = other ? 0.3 * (rank / (shades.length - 1) - 0.5) : 0;
    const text = [sizeText(record, best.size), ...bestText(hyperparameter, best)];
    const [low, high] = [best.low ?? best.place, best.high ?? best.place];
    return {
      kind: "optimum",
      x: at * gap ** aside,
      y: best.place,
      low,
      high,
      text,
      color: shadeOf(rank, shades),
    };
  });
  const band = (law?.band ?? []).map(([x, y, low, high]) => ({
    kind: "band",
    x,
    y,
    low: low ?? y,
    high: high ?? y,
  }));
  if (!law?.target) return [...band, ...optimum];
  const [y, low, high] = law.target.place;
  const text = [`predicted at ${law.target.text}`, ...bestText(hyperparameter, { place: y, low, high })];
  return [...band, ...optimum, { kind: "target", x: law.target.x, y, low: low ?? y, high: high ?? y, text }];
}

/** Draws the regret at the largest size of tuning at each smaller one. */
function drawRegrets(element, record, choice) {
  empty(element);
  const own = record.regrets.filter((each) => each.over === choice.over && choice.rules.includes(each.rule));
  if (!own.length || choice.metric !== record.metric) return;
  const axis = choice.axis;
  const values = axisValues(record, axis);
  const marks = own.flatMap(({ rule, rows }, order) =>
    rows
      .filter(([size]) => isFixed(record, choice, size))
      .map(([size, value, low, high]) => {
        const text = [
          `${rule}, tuned at ${sizeText(record, size)}`,
          value === null
            ? "diverges, or was not run"
            : `regret ${shortNumber(value)}, ${shortNumber(low)} to ${high === null ? "∞" : shortNumber(high)}`,
        ];
        // Rules stand next to each other, so that their intervals do not cover each other.
        const x = axisValue(record, size, axis) * 1.03 ** (order - (own.length - 1) / 2);
        const way = Object.values(choice.fixed).includes("all") ? `${rule} ${size}` : rule;
        return {
          kind: "regret",
          rule: way,
          x,
          y: value,
          low: low ?? value,
          high,
          text,
          color: `var(--c${order})`,
        };
      }),
  );
  const known = marks.map((mark) => mark.y).filter((value) => value !== null);
  if (!marks.length) return;
  const top =
    1.25 *
    Math.max(...known, 1e-6, ...marks.map((mark) => Math.min(mark.high ?? 0, 3 * Math.max(...known, 0))));
  const cut = marks.filter((mark) => (mark.high ?? Infinity) > top);
  const triangles = cut.map((mark) => ({ ...mark, kind: "beyond", y: top }));
  for (const mark of marks) mark.high = Math.min(mark.high ?? top, top);
  const shown = [...marks.filter((mark) => mark.y !== null), ...triangles];
  const places = Object.entries(choice.fixed).filter(([, value]) => value !== "all");
  const of = places.length ? ` of ${places.map((place) => place.join(" ")).join(", ")}` : "";
  const title = `Regret at ${sizeText(record, own[0].target)} of tuning at a smaller size${of}`;
  const chart = chartBox(title);
  const keys = keysOf(own.map(({ rule }, order) => [`var(--c${order})`, rule]));
  const beyond = "A triangle: the interval goes on beyond the chart; without a dot, so does the regret.";
  const how = triangles.length ? [make("p", { class: "how" }, beyond)] : [];
  element.append(make("figure", {}, make("h3", {}, title), keys, chart, ...how));
  const view = draw(chart, "regret", shown, {
    height: 220,
    ...sizeAxis(
      axis,
      limits(
        marks.map((mark) => mark.x),
        1.2,
        true,
      ),
      values,
    ),
    yTitle: `loss given away`,
    yDomain: [0, top],
  });
  listen(view, chart, shown);
}

/** Returns the legend of colours and their names. */
function keysOf(pairs) {
  const boxes = pairs.map(([color, text]) =>
    make("span", { class: "box" }, make("span", { class: "swatch", style: `background:${color}` }), text),
  );
  return make("p", { class: "keys" }, ...boxes);
}

/** Returns the colour of a value among others, from pale to strong. */
function shadeOf(rank, values) {
  return shade(values.length > 1 ? rank / (values.length - 1) : 1);
}

function isFixed(record, choice, size) {
  return Object.entries(choice.fixed).every(
    ([axis, value]) => value === "all" || String(axisValue(record, size, axis)) === value,
  );
}

/** Draws runs and contours over two hyperparameters, a panel for each rule. */
function drawSurfaces(element, record, choice) {
  const [size, over] = surfaceChoice(record, choice);
  const own = record.surfaces.filter((each) => each.size === size && String(each.over) === over);
  element.style.setProperty("--panels", Math.min(own.length, 3) || 1);
  empty(element);
  const panels = own.map((found) => {
    const chart = chartBox(`${found.rule}: loss over ${found.over.join(" and ")}; ${found.text}`);
    element.append(
      make("figure", {}, make("h3", {}, found.rule), make("p", { class: "how" }, found.text), chart),
    );
    return [chart, found];
  });
  for (const [chart, found] of panels) drawSurface(chart, record, found);
}

function surfaceChoice(record, { surface }) {
  const known = record.surfaces.map((each) => [each.size, String(each.over)]);
  return known.find((each) => String(each) === String(surface)) ?? known[0];
}

function drawSurface(chart, record, found) {
  const [first, second] = found.over.map((name) => record.hyperparameters.find((each) => each.name === name));
  const losses = found.points
    .map(([, , loss]) => loss)
    .filter((loss) => loss !== null)
    .sort((a, b) => a - b);
  const at = (hyperparameter, place) =>
    valueText(hyperparameter, valueAt(hyperparameter, place));
  const points = found.points.map(([x, y, loss]) => {
    const text = [
      `${first.label} ${at(first, x)}`,
      `${second.label} ${at(second, y)}`,
      loss === null ? "diverged" : `loss ${shortNumber(loss)}`,
    ];
    if (loss === null) return { kind: "diverged", x, y, text };
    return {
      kind: "run",
      x,
      y,
      text,
      color: shade(1 - losses.indexOf(loss) / Math.max(losses.length - 1, 1)),
    };
  });
  const ring = (kind, line, way) => line.map(([x, y], order) => ({ kind, way, order, x, y }));
  const marks = [
    ...found.contours.flatMap((line, number) => ring("contour", line, number)),
    ...points,
    ...ring("region", found.region, 0),
    {
      kind: "optimum",
      x: found.optimum[0],
      y: found.optimum[1],
      text: [`lowest at ${at(first, found.optimum[0])}`, at(second, found.optimum[1])],
    },
  ];
  const [x, y] = [0, 1].map((axis) =>
    limits(
      found.points.map((each) => each[axis]),
      0.12,
    ),
  );
  const [across, up] = [placeTicks(first, x, chart.clientWidth - 60), placeTicks(second, y, 400)];
  const view = draw(chart, "surface", marks, {
    height: 300,
    xTitle: first.axisLabel,
    yTitle: second.axisLabel,
    xDomain: x,
    yDomain: y,
    xTicks: across.ticks,
    xLabels: across.labels,
    yTicks: up.ticks,
    yLabels: up.labels,
  });
  listen(view, chart, marks);
}

/** Draws each module's change against size, with the expected exponent dashed. */
function drawChecks(element) {
  empty(element);
  for (const check of page.checks) {
    element.append(make("h3", {}, `${check.rule}: ${check.verdict}`));
    const remarks = check.remarks.map((text) => make("li", {}, text));
    if (remarks.length) element.append(make("ul", { class: "warnings" }, ...remarks));
    const grid = make("div", { class: "small panels" });
    element.append(grid);
    const all = check.panels.flatMap((panel) =>
      panel.steps.flatMap(([, points]) => points.map(([, y]) => y)),
    );
    const y = limits(all, 1.15, true);
    const panels = check.panels.map((panel) => {
      const said = `exponent ${panel.slope}, expected ${shortNumber(panel.expected)}: ${panel.verdict}`;
      const chart = chartBox(`${panel.name} along ${panel.axis}: ${said}`);
      grid.append(
        make(
          "figure",
          { class: panel.verdict },
          make("h4", {}, panel.name),
          make("p", { class: "how" }, said),
          chart,
        ),
      );
      return [chart, panel];
    });
    for (const [chart, panel] of panels) {
      const sizes = panel.reference.map(([size]) => size);
      const last = panel.steps.length - 1;
      const marks = panel.steps.flatMap(([step, points], number) =>
        points.map(([x, value]) => ({
          kind: "change",
          step,
          x,
          y: value,
          color: shade(last ? number / last : 1),
          text: [`${panel.axis} ${x}, step ${step}`, `change ${shortNumber(value)}`],
        })),
      );
      marks.push(...panel.reference.map(([x, value]) => ({ kind: "expected", x, y: value })));
      const values = [...new Set(panel.steps.flatMap(([, points]) => points.map(([x]) => x)))].sort(
        (a, b) => a - b,
      );
      const view = draw(chart, "check", marks, {
        height: 150,
        ...sizeAxis(panel.axis, limits(sizes, 1.1, true), values),
        yTitle: "change",
        yScale: "log",
        yDomain: y,
        yTicks: lossTicks(y, true),
        yLabels: NUMBERS,
      });
      listen(view, chart, marks);
    }
  }
}

function chartBox(label) {
  return make("div", { class: "chart", role: "img", "aria-label": label });
}

/** Returns the axis of sizes: logarithmic, with a tick at each that was run. */
function sizeAxis(axis, domain, values) {
  return {
    xTitle: axis,
    xScale: "log",
    xDomain: domain,
    xTicks: values,
    xLabels: "format(datum.value, '.3~s')",
  };
}

function heights(marks) {
  return marks.flatMap((mark) => (mark.kind === "band" ? [mark.y] : [mark.y, mark.low, mark.high]));
}

/** Returns limits with some room: a share of the range, or a factor. */
function limits(values, room, isLog = false) {
  const known = values.filter((value) => Number.isFinite(value) && (!isLog || value > 0));
  const [low, high] = known.length ? [Math.min(...known), Math.max(...known)] : [isLog ? 0.5 : 0, 1];
  if (isLog) return [low / room, high * room];
  const side = room * (high - low) || 0.5;
  return [low - side, high + side];
}
