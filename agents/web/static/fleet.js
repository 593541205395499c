// All model versions, worst first.

import { address, ask } from "./api.js";
import { h, replace, table } from "./dom.js";
import { download } from "./download.js";
import { STATES, STATUSES, age, bytes, count, duration, interval, number, reason, roughly, share, signed, time } from "./format.js";

const AGAINST = { reference: "reference", "1d": "a day before", before: "window before" };
const MEMORY = {
  suspected_leak: ["▲", "leak suspected", "firing"], step: ["◆", "grew in one step", "warning"],
  warming_up: ["◔", "too young to judge", "quiet"], stable: ["●", "steady", "quiet"],
};

let drawn = null;

export async function showFleet({ root, isCurrent, afresh }) {
  const fleet = await ask("/fleet");
  if (!isCurrent() || (fleet === drawn && !afresh)) return "Models";
  drawn = fleet;
  replace(root, fleet.rows.length ? filled(fleet) : empty(fleet.topics));
  return "Models";
}

function filled(fleet) {
  const tally = Object.entries(STATES)
    .map(([state, { word }]) => [fleet.rows.filter((row) => row.state === state).length, word.toLowerCase()])
    .filter(([rows]) => rows)
    .map(([rows, word]) => `${rows} ${word}`);
  return [
    h("h1", {}, "Models"),
    h("div", { class: "choices" },
      h("p", { class: "quiet" }, `${tally.join(", ")}. Worst first.`),
      h("a", { href: address("/fleet"), target: "_blank", rel: "noopener", "data-key": "json" }, "JSON"),
      h("button", { type: "button", "data-key": "csv", onclick: () => download("models.csv", csvRows(fleet)) }, "CSV")),
    table(`Model versions, worst first, each by its newest window with half of its labels`, [
      "State", "Model", "Metric", [`${fleet.confidence_level * 100} % interval`, "wide"], ["n", "n"], ["Windows", "wide"],
      ["Change", "n"], ["Labelled", "n"], ["Predictions", "n"], ["p95", "n wide"], ["Errors", "n wide"], ["Memory", "n wide"], "Window",
    ], fleet.rows.map(cells), { class: "fleet" }),
  ];
}

function cells(row) {
  const state = STATES[row.state];
  const figure = row.figure ?? { value: null };
  const target = `/?${new URLSearchParams({ model: row.model, version: row.version })}`;
  return [
    h("td", { class: `state ${row.state}` }, h("span", { "aria-hidden": "true" }, state.sign), ` ${state.word}`,
      row.firing.length ? h("small", {}, row.firing.join(", ")) : null),
    h("th", { scope: "row" }, h("a", { href: target, "data-key": target }, row.model),
      row.version ? h("small", {}, `version ${row.version}`) : null),
    h("td", {}, figure.value === null
      ? h("span", { class: "quiet" }, `${row.metric ?? "no metric"}: ${reason(row.reason)}`)
      : [h("strong", {}, number(figure.value)), h("small", {}, row.metric)]),
    figure.value === null ? "" : interval(figure),
    count(figure.n ?? 0),
    sparkline(row),
    change(row),
    labelled(row),
    h("td", { class: "n" }, count(row.predictions), row.failed ? h("small", {}, `${count(row.failed)} failed`) : null),
    typeof row.others.latency_p95_ms?.value === "number" ? `${number(row.others.latency_p95_ms.value)} ms` : "–",
    row.others.error_rate ? share(row.others.error_rate.value) : "–",
    memory(row.memory),
    h("td", {}, h("span", { class: `status ${row.status}` }, STATUSES[row.status]),
      h("small", { class: "when" }, `${time(row.window.start, row.window.size_seconds)}, ${duration(row.window.size_seconds)}`),
      h("small", { class: "when" }, `reported ${age(row.produced_at)}`)),
  ];
}

function labelled(row) {
  const expected = row.coverage_expected;
  return h("td", { class: "n" }, share(row.coverage),
    expected ? h("small", {}, `usual ${share(expected.now)}`) : null,
    h("span", { class: "meter", "aria-hidden": "true" }, h("span", { style: `width:${(row.coverage ?? 0) * 100}%` })));
}

/** Against the reference, or the like window there is; a word where it is more than sampling does. */
function change({ figure, reference }) {
  if (!reference) return h("td", { class: "n" }, "–");
  const kind = { worse: "firing", better: "ok", within: "quiet" }[reference.change];
  const word = reference.change === "within" ? null : ` ${reference.change}`;
  return h("td", { class: "n" }, h("span", { class: kind }, signed(figure.value - reference.value), word),
    h("small", {}, `${AGAINST[reference.against]} ${number(reference.value)}`));
}

function memory(trend) {
  if (!trend) return h("td", { class: "n wide" }, "–");
  const [sign, word, kind] = MEMORY[trend.state];
  const grows = trend.bytes_per_hour !== null && trend.state === "suspected_leak" ? `${signed(trend.bytes_per_hour, bytes)}/h` : null;
  const full = trend.seconds_to_limit === null ? null : `full in ${roughly(trend.seconds_to_limit)}`;
  return h("td", { class: "n wide memory" }, bytes(trend.bytes),
    trend.limit_bytes ? ` of ${bytes(trend.limit_bytes)}` : null,
    h("small", { class: kind }, h("span", { "aria-hidden": "true" }, sign), ` ${word}`),
    grows || full ? h("small", {}, [grows, full].filter(Boolean).join(", ")) : null,
    trend.targets > 1 ? h("small", { class: "name" }, `${trend.target}, worst of ${count(trend.targets)}`) : null);
}

/** Values of the newest windows; pale where most labels are missing. */
function sparkline(row) {
  const points = row.spark.filter(([, value]) => value !== null);
  if (!points.length) return "";
  const [width, height] = [120, 24];
  const longest = Math.max(23, ...row.spark.map(([before]) => before));
  const values = points.map(([, value]) => value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const x = (before) => width - 3 - (before / longest) * (width - 6);
  const y = (value) => (high === low ? height / 2 : height - 3 - ((value - low) / (high - low)) * (height - 6));
  const [, last] = points.at(-1);
  const title = `From ${number(points[0][1])} to ${number(last)}; least ${number(low)}, most ${number(high)}`;
  return h("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": title },
    h("path", { d: points.map(([before, value], at) => `${at ? "L" : "M"}${x(before).toFixed(1)},${y(value).toFixed(1)}`).join("") }),
    points.map(([before, value, coverage]) =>
      h("circle", { cx: x(before).toFixed(1), cy: y(value).toFixed(1), r: 1.8, class: (coverage ?? 0) < 0.5 ? "pale" : null })));
}

function empty(topics) {
  const example = (object) => h("pre", {}, JSON.stringify(object));
  return [
    h("h1", {}, "No model has a report yet"),
    h("p", {}, "Publish JSON objects to Kafka; a report follows within seconds, also before any label."),
    h("p", {}, "To ", h("code", {}, topics.predictions), ":"),
    example({ request_id: "r1", model: "fraud", prediction: "ok" }),
    h("p", {}, "To ", h("code", {}, topics.labels), ", whenever the truth is known:"),
    example({ request_id: "r1", label: "ok" }),
    h("p", {}, "If none comes, ", h("a", { href: "/?view=system" }, "System"), " tells what was read, and ",
      h("code", {}, "latelabel doctor"), " what is wrong."),
  ];
}

function csvRows(fleet) {
  return [
    ["model", "version", "state", "firing", "window_start", "window_seconds", "status", "metric", "value", "low", "high", "n",
      "against", "against_value", "change", "predictions", "failed", "labelled", "coverage", "latency_p95_ms", "error_rate",
      "memory_target", "memory_state", "memory_bytes", "memory_limit_bytes", "memory_bytes_per_hour", "produced_at"],
    ...fleet.rows.map((row) => [
      row.model, row.version, row.state, row.firing.join(" "), row.window.start, row.window.size_seconds, row.status,
      row.metric, row.figure?.value, row.figure?.low, row.figure?.high, row.figure?.n,
      row.reference?.against, row.reference?.value, row.reference?.change,
      row.predictions, row.failed, row.labelled, row.coverage, row.others.latency_p95_ms?.value, row.others.error_rate?.value,
      row.memory?.target, row.memory?.state, row.memory?.bytes, row.memory?.limit_bytes, row.memory?.bytes_per_hour, row.produced_at,
    ]),
  ];
}
