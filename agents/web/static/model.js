// One model version: its figures over event time, and everything about the window it is judged by.

import { address, ask, modelPath } from "./api.js";
import { FIGURE_BANDS, figure, figureSeries, lineSeries, trafficSeries } from "./chart.js";
import { download } from "./download.js";
import { broken, h, replace, table } from "./dom.js";
import { STATUSES, age, count, duration, interval, number, reason, segmentName, share, time } from "./format.js";
import { confusion, delays, segments } from "./parts.js";

const WINDOWS = 300;
const CHART_HEIGHT = 220;
const LOW_CHART_HEIGHT = 130;
const LATENCIES = ["latency_p50_ms", "latency_p95_ms", "latency_p99_ms"];
const RATES = ["error_rate", "timeout_rate"];
const MEMORY = ["rss_bytes", "working_set_bytes"];
const CPU = ["cpu_cores_mean"];
const VERSIONS_COMPARED = 4;
const TARGETS = 3;

let drawn = null;

export async function showModel({ root, query, go, isCurrent, afresh }) {
  const name = query.get("model");
  const page = await ask(modelPath(name), { version: query.get("version"), size: query.get("size") });
  const metric = query.get("metric") ?? page.metric;
  const asked = {
    version: page.version, size: page.size_seconds, since: query.get("since"), until: query.get("until"), limit: WINDOWS,
  };
  const others = page.versions.filter(({ version }) => version !== page.version).slice(0, VERSIONS_COMPARED);
  const [windows, judged, stability, ...compared] = await Promise.all([
    ask(modelPath(name, "/windows"), { ...asked, metrics: metric }),
    ask(modelPath(name, `/windows/${page.judged}`), { version: page.version, size: page.size_seconds }),
    page.kinds.includes("stability")
      ? ask(modelPath(name, "/windows"), { ...asked, kind: "stability", metrics: [...LATENCIES, ...RATES].join(",") }).catch(nothing)
      : null,
    ...others.map(({ version }) => ask(modelPath(name, "/windows"), { ...asked, version, metrics: metric }).catch(nothing)),
  ]);
  const targets = judged.reports.filter(({ kind }) => kind === "resources").slice(0, TARGETS).map(({ segment }) => segment);
  const resources = await Promise.all(targets.map((segment) => ask(modelPath(name, "/windows"), {
    ...asked, kind: "resources", segment: JSON.stringify(segment), metrics: [...MEMORY, ...CPU].join(","),
  })));
  const news = [page, windows, judged, stability, ...compared, ...resources];
  if (!isCurrent() || (!afresh && drawn?.every((each, at) => each === news[at]))) return title(page);
  drawn = news;

  const link = (changes) => `/?${new URLSearchParams({ ...Object.fromEntries(query), version: page.version, ...changes })}`;
  const zoom = (from, to) => go(link({ since: iso(from), until: iso(to) }));
  const view = { page, metric, windows, link, zoom, query, go };
  replace(root, heading(view), standing(view, judged), charts(view, stability, others, compared, targets.map((segment, at) => [segment.target, resources[at]])), about(view, judged));
  return title(page);
}

const nothing = () => null;
const title = (page) => (page.version ? `${page.model} ${page.version}` : page.model);
const iso = (seconds) => new Date(Math.round(seconds) * 1000).toISOString().replace(".000", "");

function heading({ page, metric, windows, link, query, go }) {
  const choice = (key, label, names, chosen, change) => names.length < 2 ? null : h("label", {}, label, " ",
    h("select", { "data-key": key, onchange: (event) => go(link(change(event.target.value))) },
      names.map(([value, text]) => h("option", { value, selected: value === chosen }, text))));
  const isZoomed = query.has("since") || query.has("until");
  const parameters = { version: page.version, size: page.size_seconds, since: query.get("since"), until: query.get("until"), metrics: metric };
  return [
    h("h1", {}, page.model, page.version ? h("small", {}, ` version ${page.version}`) : null),
    h("form", { class: "choices", onsubmit: (event) => event.preventDefault() },
      choice("version", "Version", page.versions.map(({ version }) => [version, version || "(none)"]), page.version, (version) => ({ version })),
      choice("metric", "Metric", page.metrics.map((each) => [each.name, each.name]), metric, (value) => ({ metric: value })),
      choice("size", "Windows", page.sizes.map((size) => [String(size), duration(size)]), String(page.size_seconds), (size) => ({ size })),
      isZoomed ? h("a", { href: `/?${without(query, "since", "until")}`, "data-key": "whole" }, "Newest windows") : null,
      windows.next_until ? h("a", { href: link({ until: windows.next_until, since: "" }), "data-key": "older" }, "Older") : null,
      h("a", { href: address(modelPath(page.model, "/windows"), parameters), target: "_blank", rel: "noopener" }, "JSON"),
      h("button", { type: "button", onclick: () => download(`${page.model}-${metric}.csv`, csvRows(windows, metric)) }, "CSV")),
    h("p", { class: "quiet" }, page.metrics.find((each) => each.name === metric)?.meaning ?? ""),
  ];
}

function without(query, ...names) {
  const rest = new URLSearchParams(query);
  for (const name of names) rest.delete(name);
  return rest;
}

function standing({ page, metric, link }, { reports }) {
  const report = reports[0];
  const metricNow = report.metrics[metric];
  const value = !metricNow ? `There is no ${metric} here` : metricNow.value === null
    ? `${metric}: ${reason(report.undefined[metric])}`
    : [h("strong", {}, number(metricNow.value)), ` ${metric} ${interval(metricNow)} of ${count(metricNow.n)}`];
  const due = report.predictions - report.labelled - report.never_labelled;
  return h("p", { class: "lead" },
    value, h("br"), `${count(report.predictions)} predictions from `,
    h("a", { href: link({ window: report.window.start }), "data-key": "judged" }, time(report.window.start, page.size_seconds)),
    `: ${count(report.labelled)} labelled (${share(report.coverage)}), ${count(due)} due, ${count(report.never_labelled)} never; `,
    h("span", { class: `status ${report.status}` }, STATUSES[report.status]), `, reported ${age(report.produced_at)}`);
}

// --- charts ---------------------------------------------------------------------------------------------------------

function charts(view, stability, others, compared, resources) {
  const { page, metric, windows } = view;
  if (!windows.points.length) return h("p", { class: "quiet" }, "No window in this span.");
  const x = windows.points.map((point) => middle(point, page));
  const half = page.size_seconds / 2;
  const extent = [x[0] - half, x.at(-1) + half];
  const common = { extent, onZoom: view.zoom };
  return h("div", { class: "charts" },
    metricChart(view, x, common), trafficChart(view, x, common),
    stability?.points.length ? [
      linesChart({ ...common, key: "latency", title: "Latency, ms: p50, p95, p99", windows: stability, names: LATENCIES, page }),
      linesChart({ ...common, key: "errors", title: "Error and time-out rate", windows: stability, names: RATES, page }),
    ] : null,
    resources.filter(([, each]) => each.points.length).map(([target, each]) => [
      linesChart({ ...common, key: `memory ${target}`, title: `Memory of ${target}, MiB: resident, working set`, windows: each, names: MEMORY, page, unit: (value) => count(Math.round(value / 1048576)) }),
      linesChart({ ...common, key: `cpu ${target}`, title: `CPU of ${target}, cores`, windows: each, names: CPU, page }),
    ]),
    compared.some((each) => each?.points.length)
      ? versionsChart({ ...common, metric, page, all: [windows, ...compared], names: [page.version, ...others.map(({ version }) => version)] })
      : null);
}

const middle = (point, page) => Date.parse(point.start) / 1000 + page.size_seconds / 2;
const part = (metric, name) => (metric && metric.value !== null && metric[name] !== null ? metric[name] : null);

function metricChart({ page, metric, windows, link }, x, common) {
  const figures = windows.points.map((point) => point.figures[metric]);
  const possible = (at) => figures.map((each) => each?.possible?.[at] ?? null);
  const value = figures.map((each) => part(each, "value"));
  const isSettled = windows.points.map(({ status }) => status === "final");
  const last = figures.findLastIndex((each) => each && each.value !== null);
  const describe = (at) => {
    const [point, each] = [windows.points[at], figures[at]];
    const said = !each || each.value === null ? reason(point.undefined[metric]) : `${number(each.value)} ${interval(each)} of ${count(each.n)}`;
    const range = each?.possible ? `, possible ${number(each.possible[0])} to ${number(each.possible[1])}` : "";
    return `${time(point.start, page.size_seconds)}, ${STATUSES[point.status]}: ${said}${range}`;
  };
  return figure({
    ...common, key: "metric", title: `${metric} by window`, height: CHART_HEIGHT, describe,
    summary: last < 0 ? `No window has a ${metric} yet.` : `Newest: ${describe(last)}`,
    data: [x, possible(0), possible(1), figures.map((each) => part(each, "low")), figures.map((each) => part(each, "high")),
      value, value.map((each, at) => (isSettled[at] ? each : null)), value.map((each, at) => (isSettled[at] ? null : each))],
    series: figureSeries, bands: FIGURE_BANDS,
    rows: () => [
      h("p", { class: "quiet" }, "Filled points are final, hollow ones may still move: dark band the interval, pale band what missing labels could make of it."),
      table(`${metric} by window`, ["Window", "State", ["Value", "n"], ["Low", "n"], ["High", "n"], ["n", "n"], ["Possible", "n"]],
        windows.points.map((point, at) => {
          const each = figures[at] ?? { value: null };
          return [
            h("td", {}, h("a", { href: link({ window: point.start }) }, time(point.start, page.size_seconds))), STATUSES[point.status],
            each.value === null ? reason(point.undefined[metric]) : number(each.value), number(each.low), number(each.high), count(each.n ?? 0),
            each.possible ? `${number(each.possible[0])} to ${number(each.possible[1])}` : "–",
          ];
        }).reverse()),
    ],
  });
}

function trafficChart({ page, windows }, x, common) {
  const points = windows.points;
  const describe = (at) => {
    const point = points[at];
    return `${time(point.start, page.size_seconds)}: ${count(point.predictions)} predictions, ${count(point.labelled)} labelled, `
      + `${count(due(point))} due, ${count(point.never_labelled)} never, ${count(point.failed)} more failed`;
  };
  return figure({
    ...common, key: "traffic", title: [h("span", {}, "Predictions"), ...[["--data", "labelled"], ["--never", "never labelled"], ["--due", "still due"]].map(([color, name]) => [h("span", { class: "swatch", style: `background: var(${color})`, "aria-hidden": "true" }), name])], height: LOW_CHART_HEIGHT, describe,
    summary: `Newest: ${describe(points.length - 1)}`,
    data: [x, points.map((point) => point.predictions), points.map((point) => point.labelled + point.never_labelled), points.map((point) => point.labelled)],
    series: trafficSeries, unit: (value) => count(value), range: (_, __, high) => [0, high * 1.05 || 1],
    rows: () => table("Predictions by window", ["Window", ["Predictions", "n"], ["Labelled", "n"], ["Due", "n"], ["Never", "n"], ["Failed", "n"]],
      points.map((point) => [time(point.start, page.size_seconds),
        ...[point.predictions, point.labelled, due(point), point.never_labelled, point.failed].map(count)]).reverse()),
  });
}

const due = (point) => point.predictions - point.labelled - point.never_labelled;
const DASHES = [["--data", []], ["--second", [6, 4]], ["--third", [2, 3]], ["--fourth", [10, 3, 2, 3]], ["--ink-quiet", [1, 4]]];

function linesChart({ key, title, windows, names, page, unit = number, ...common }) {
  const points = windows.points;
  const said = (point, name) => (part(point.figures[name], "value") === null ? "–" : unit(point.figures[name].value));
  const describe = (at) => `${time(points[at].start, page.size_seconds)}: `
    + names.map((name) => `${name.replaceAll("_", " ")} ${said(points[at], name)}`).join(", ");
  return figure({
    ...common, key, title, unit, height: LOW_CHART_HEIGHT, describe, summary: `Newest: ${describe(points.length - 1)}`,
    data: [points.map((point) => middle(point, page)), ...names.map((name) => points.map((point) => part(point.figures[name], "value")))],
    series: lineSeries(DASHES.slice(0, names.length)),
    rows: () => table(title, ["Window", ...names.map((name) => [name, "n"])],
      points.map((point) => [time(point.start, page.size_seconds), ...names.map((name) => said(point, name))]).reverse()),
  });
}

function versionsChart({ metric, page, all, names, ...common }) {
  const starts = [...new Set(all.flatMap((each) => each?.points.map((point) => point.start) ?? []))].sort();
  const values = all.map((each) => {
    const byStart = new Map(each?.points.map((point) => [point.start, part(point.figures[metric], "value")]));
    return starts.map((start) => byStart.get(start) ?? null);
  });
  const label = (name) => `version ${name || "(none)"}`;
  const describe = (at) => `${time(starts[at], page.size_seconds)}: ${names.map((name, of) => `${label(name)} ${number(values[of][at])}`).join(", ")}`;
  return figure({
    ...common, key: "versions", title: `${metric} of versions side by side`, height: LOW_CHART_HEIGHT, describe,
    summary: `Newest: ${describe(starts.length - 1)}`,
    data: [starts.map((start) => middle({ start }, page)), ...values], series: lineSeries(DASHES.slice(0, names.length)),
    rows: () => table(`${metric} of versions`, ["Window", ...names.map((name) => [label(name), "n"])],
      starts.map((start, at) => [time(start, page.size_seconds), ...values.map((each) => number(each[at]))]).reverse()),
  });
}

// --- the window it is judged by --------------------------------------------------------------------------------------

function about({ page, metric, link }, { reports }) {
  const report = reports[0];
  return h("div", { class: "columns" },
    confusion(report), delays(report), segments(reports, metric, (segment) => link({ window: report.window.start, segment: JSON.stringify(segment) })),
    h("section", {}, h("h2", {}, "All figures"), h("p", { class: "quiet" }, `Of ${time(report.window.start, page.size_seconds)}, ${segmentName(report.segment)}.`),
      table("All figures of this window", ["Metric", ["Value", "n"], ["Interval", "n"], ["n", "n"]],
        Object.entries(report.metrics).map(([name, each]) => [
          h("th", { scope: "row" }, h("a", { href: link({ metric: name }), "data-key": `metric ${name}` }, broken(name))),
          each.value === null ? reason(report.undefined[name]) : number(each.value), interval(each), count(each.n)]))));
}

function csvRows(windows, metric) {
  return [
    ["window_start", "status", "predictions", "failed", "labelled", "never_labelled", metric, "low", "high", "n", "possible_low", "possible_high"],
    ...windows.points.map((point) => {
      const each = point.figures[metric] ?? {};
      return [point.start, point.status, point.predictions, point.failed, point.labelled, point.never_labelled,
        each.value, each.low, each.high, each.n, each.possible?.[0], each.possible?.[1]];
    }),
  ];
}
