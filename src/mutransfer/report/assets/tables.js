// Tables that sort, and that are saved as CSV.
"use strict";

const FIRST_ROWS = 12, MORE_ROWS = 200;

/** Shows every table of the page: those that Python made, and the runs of each record. */
function showTables(element) {
  const all = [...page.tables, ...page.records.map(runsTable)];
  element.replaceChildren(...all.map((table) => tableBox(table)));
}

/** Returns the runs of a record as a table. */
function runsTable(record) {
  const several = page.records.length > 1;
  const sizes = record.sizeAxes.map((axis) => [axis, record.columns.size.map((size) => axisValue(record, size, axis))]);
  const points = record.hyperparameters.map(({ name }) => [name, column(record, `at ${name}`)]);
  const losses = record.metrics.map(({ name, label }) => [label, record.columns[`by ${name}`]]);
  const messages = column(record, "message");
  const columns = [
    ["rule", record.columns.rule.map((rule) => record.rules[rule])],
    ...sizes, ...points, ["seed", record.columns.seed], ["status", column(record, "status")], ...losses,
    ...(messages ? [["message", messages]] : []),
  ];
  const rows = record.columns.seed.map((_, run) => columns.map(([, values]) => values[run]));
  const file = several ? `runs-${record.title.replace(/\W+/g, "-")}.csv` : "runs.csv";
  return { file, columns: columns.map(([name]) => name), rows };
}

function tableBox({ file, columns, rows }) {
  const box = make("section", { "aria-label": file });
  let [order, shown] = [{ column: null, down: false }, FIRST_ROWS];
  const render = (focus) => {
    const sorted = order.column === null ? rows : [...rows].sort((a, b) => compared(a[order.column], b[order.column], order.down));
    const head = columns.map((name, number) => {
      const own = order.column === number;
      const sort = own ? (order.down ? "descending" : "ascending") : "none";
      const click = () => {
        order = { column: number, down: own && !order.down };
        render(number);
      };
      return make("th", { scope: "col", "aria-sort": sort }, make("button", { type: "button", onclick: click }, name.replaceAll("_", " ")));
    });
    const body = sorted.slice(0, shown).map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, shortNumber(cell)))));
    const table = make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...body));
    const more = () => {
      shown += MORE_ROWS;
      render();
    };
    const left = rows.length - shown;
    const buttons = [make("button", { type: "button", onclick: () => download(file, columns, sorted) }, `Save ${file}`)];
    if (left > 0) buttons.unshift(make("button", { type: "button", onclick: more }, `Show ${Math.min(left, MORE_ROWS)} more`));
    const count = `${Math.min(shown, rows.length)} of ${rows.length} rows`;
    box.replaceChildren(
      make("h3", {}, file.replace(/\.csv$/, "").replaceAll("-", " ")),
      make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Table ${file}` }, table),
      make("p", { class: "bar how" }, make("span", {}, count), make("span", { class: "bar" }, ...buttons))
    );
    if (focus !== undefined) box.querySelectorAll("th button")[focus].focus();
  };
  render();
  return box;
}

/** Compares two cells; empty ones come last, whatever the direction. */
function compared(a, b, down) {
  const [noA, noB] = [a ?? "", b ?? ""].map((value) => value === "");
  if (noA || noB) return noA - noB;
  const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  return down ? -order : order;
}

function download(file, columns, rows) {
  const cell = (value) => (/[",\n]/.test(String(value ?? "")) ? `"${String(value).replaceAll('"', '""')}"` : String(value ?? ""));
  const text = [columns, ...rows].map((row) => row.map(cell).join(",")).join("\r\n");
  const link = make("a", { href: URL.createObjectURL(new Blob([text + "\r\n"], { type: "text/csv" })), download: file });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
