// Charts: a specification with the reader's choices filled in, drawn as SVG into an element.
"use strict";

/** Returns a specification with every "$name" replaced; names without a value leave no trace. */
function filled(spec, values) {
  if (typeof spec === "string") return spec.startsWith("$") ? values[spec.slice(1)] : spec;
  if (Array.isArray(spec)) return spec.map((each) => filled(each, values));
  if (spec === null || typeof spec !== "object") return spec;
  const pairs = Object.entries(spec).map(([key, value]) => [key, filled(value, values)]);
  return Object.fromEntries(pairs.filter(([, value]) => value !== undefined));
}

/** Draws a chart, and returns its view. */
function draw(element, name, marks, values) {
  const usual = { height: 300, padding: 5, xScale: "linear", yScale: "linear" };
  const width = Math.max(220, Math.floor(element.clientWidth) - 1);
  const spec = filled(page.charts[name], { ...usual, width, ...values });
  spec.datasets = { marks };
  const compiled = charts.compile(spec, { config: page.config }).spec;
  element.view?.finalize();
  const view = new charts.View(charts.parse(compiled, undefined, { ast: true }), {
    expr: charts.expressionInterpreter,
    renderer: "svg",
    container: element,
  });
  view.run();
  element.view = view;
  element.querySelector("svg").setAttribute("aria-hidden", "true");
  element.dataset.marks = marks.length;
  return view;
}

/** Takes charts out of an element, and their listeners off the window. */
function empty(element) {
  for (const chart of element.querySelectorAll(".chart")) chart.view?.finalize();
  element.replaceChildren();
}

/** Returns ticks of an axis of losses: 1, 2 and 5 where it is logarithmic. */
function lossTicks([low, high], log) {
  if (!log) return undefined;
  const ticks = [];
  const digits = high < 1000 * low ? [1, 2, 5] : [1];
  for (let decade = Math.floor(Math.log10(low)); decade <= Math.log10(high); decade++) {
    ticks.push(...digits.map((digit) => Number(`${digit}e${decade}`)));
  }
  const inside = ticks.filter((tick) => tick >= low && tick <= high);
  return inside.length > 1 ? inside : undefined;
}

/** Returns ticks and labels of a hyperparameter: powers of two, numbers, or names. */
function placeTicks(hyperparameter, [low, high], width) {
  if (hyperparameter.scale === "linear") return {};
  const most = Math.max(3, Math.floor(width / 55));
  if (hyperparameter.scale === MEMORY) return betaTicks([low, high], most);
  // Half octaves only where whole ones would leave an axis without two ticks.
  let step = hyperparameter.scale === "log2" && high - low < 2 ? 0.5 : 1;
  while ((high - low) / step > most) step *= 2;
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high; tick += step) ticks.push(tick);
  const label = (tick) =>
    hyperparameter.scale === "log2" ? power(tick) : (hyperparameter.choices[tick] ?? "");
  const labels = Object.fromEntries(ticks.map((tick) => [tick, label(tick)]));
  return { ticks, labels: `(${JSON.stringify(labels)})[datum.value]` };
}

/** Returns ticks of betas where 1 - beta is 1, 2 or 5 times a power of ten, and their labels. */
function betaTicks([low, high], most) {
  const at = (digits) => {
    const found = [];
    for (let decade = 0; decade <= 16; decade++) {
      found.push(...digits.map((digit) => [Math.log2(10 ** decade / digit), (1 - digit / 10 ** decade).toFixed(decade)]));
    }
    return found.filter(([place]) => place >= low && place <= high).sort((a, b) => a[0] - b[0]);
  };
  const all = at([1, 2, 5]);
  const chosen = all.length > most ? at([1]) : all;
  // Between two such values every place is labelled with the digits that it needs.
  const few = [0, 1, 2, 3, 4].map((part) => low + (part * (high - low)) / 4);
  const text = (place) => (1 - 2 ** -place).toFixed(Math.max(Math.ceil(place * Math.log10(2)) + 2, 2));
  const shown = chosen.length > 1 ? chosen : few.map((place) => [place, text(place)]);
  const labels = Object.fromEntries(shown.map(([place, label]) => [place, label]));
  return { ticks: shown.map(([place]) => place), labels: `(${JSON.stringify(labels)})[datum.value]` };
}

const NUMBERS = "format(datum.value, '~g')";

const REACH = 28;

/** Shows the text of the mark nearest to the pointer, and tells clicks on it. */
function listen(view, element, marks, onPick) {
  const tip = document.getElementById("tip");
  let pressed = [0, 0];
  element.onpointerdown = (event) => (pressed = [event.clientX, event.clientY]);
  element.onpointermove = (event) => {
    const mark = nearest(view, element, marks, event);
    tip.hidden = !mark;
    if (!mark) return;
    tip.replaceChildren(...mark.text.map((line) => make("div", {}, line)));
    const left = Math.min(event.pageX + 14, window.scrollX + innerWidth - tip.offsetWidth - 8);
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${event.pageY + 16}px`;
  };
  element.onpointerleave = () => (tip.hidden = true);
  element.onclick = (event) => {
    // The end of a rectangle is no click.
    if (Math.hypot(event.clientX - pressed[0], event.clientY - pressed[1]) > 5) return;
    const mark = nearest(
      view,
      element,
      marks.filter((each) => each.runs),
      event,
    );
    if (mark) onPick?.(mark);
  };
}

/** Returns the mark with a text that is nearest to the pointer, if one is in reach. */
function nearest(view, element, marks, event) {
  const box = element.querySelector("svg").getBoundingClientRect();
  const [left, top] = view.origin();
  const padding = view.padding();
  const at = [event.clientX - box.left - left - padding.left, event.clientY - box.top - top - padding.top];
  const [x, y] = [view.scale("x"), view.scale("y")];
  const height = view.height();
  let [best, least] = [null, REACH];
  for (const mark of marks) {
    if (!mark.text || mark.y === null) continue;
    const down = mark.top ?? y(mark.y);
    const away = down > height + 1 ? Infinity : Math.hypot(x(mark.x) - at[0], down - at[1]);
    if (away < least) [best, least] = [mark, away];
  }
  return best;
}

/** Returns a new element. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element[name] = value;
    else if (value !== false && value !== undefined) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Returns a colour between pale (0) and deep (1), as the style sheet has them. */
function shade(share) {
  const [low, high, rest] = share < 0.5 ? [0, 1, 2 * share] : [1, 2, 2 * share - 1];
  const part = Math.round(100 * rest);
  if (part === 0) return `var(--ramp-${low})`;
  if (part === 100) return `var(--ramp-${high})`;
  return `color-mix(in oklab, var(--ramp-${high}) ${part}%, var(--ramp-${low}))`;
}
