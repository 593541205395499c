// The charts of a model, all over the same event time.

import { FIGURE_BANDS, REFERENCE_DASH, figure, figureSeries, lineSeries, trafficSeries } from "./chart.js";
import { h, table } from "./dom.js";
import { STATUSES, count, interval, number, reason, time } from "./format.js";
import { resourceCharts } from "./resources.js";

const CHART_HEIGHT = 220;
const LOW_CHART_HEIGHT = 130;
const LATENCIES = { latency_p50_ms: "p50", latency_p95_ms: "p95", latency_p99_ms: "p99" };
const RATES = { error_rate: "errors", timeout_rate: "time-outs" };
export const ofStability = { kind: "stability", metrics: Object.keys({ ...LATENCIES, ...RATES }).join(",") };
export const DASHES = [["--data", []], ["--second", [6, 4]], ["--third", [2, 3]], ["--fourth", [10, 3, 2, 3]], ["--ink-quiet", [1, 4]]];

/** Metric, traffic, latency and errors, resources, versions. */
export function charts(view, { stability, versions, targets, resources }) {
  const { page, windows } = view;
  if (!windows.points.length) return h("p", { class: "quiet" }, "No window in this span.");
  const common = commonOf(view);
  const lines = (more) => linesChart({ ...common, page, ...more });
  return h("div", { class: "charts" },
    metricChart(view, common), trafficChart(view, common),
    stability?.points.length ? [
      hasAny(LATENCIES, stability)
        ? lines({ key: "latency", title: "Latency, ms", series: named(LATENCIES, stability), json: view.jsonOf(ofStability) })
        : h("p", { class: "quiet" }, "No prediction of this span has a ", h("code", {}, "latency_ms"), "."),
      lines({ key: "errors", title: "Error and time-out rate", series: named(RATES, stability), json: view.jsonOf(ofStability),
        ...(hasAny(RATES, stability, (rate) => rate > 0) ? {} : { range: () => [0, 0.01] }) }),
    ] : null,
    resourceCharts({ targets, resources, lines, common, page }),
    versions.some(({ windows: each }, at) => at && each?.points.length)
      ? lines({ key: "versions", title: `${view.metric} of versions side by side`, series: versions.map((each) => ({
        name: `version ${each.version || "(none)"}`, points: each.windows?.points ?? [], metric: view.metric,
      })) })
      : null);
}

/** What all charts of a view share: the span, and what dragging over it does. */
export function commonOf({ page, windows, zoom }) {
  const half = page.size_seconds / 2;
  const [first, last] = [windows.points[0], windows.points.at(-1)].map((point) => middle(point.start, page));
  return { extent: [first - half, last + half], step: page.size_seconds, onZoom: zoom };
}

export const middle = (start, page) => Date.parse(start) / 1000 + page.size_seconds / 2;
const part = (metric, name) => (metric && metric.value !== null && metric[name] !== null ? metric[name] : null);
const named = (names, windows) => Object.entries(names).map(([metric, name]) => ({ name, metric, points: windows.points }));

const hasAny = (names, { points }, is = (value) => value !== null) =>
  points.some(({ figures }) => Object.keys(names).some((name) => is(part(figures[name], "value"))));

/** Columns for `figureSeries`: a figure by window with its bands, final and provisional values apart. */
export function figureData(x, figures, isFinal, reference = null) {
  const possible = (at) => figures.map((each) => each?.possible?.[at] ?? null);
  const value = figures.map((each) => part(each, "value"));
  return [x, possible(0), possible(1), figures.map((each) => part(each, "low")), figures.map((each) => part(each, "high")),
    value, value.map((each, at) => (isFinal[at] ? each : null)), value.map((each, at) => (isFinal[at] ? null : each)),
    x.map(() => reference)];
}

function metricChart({ page, metric, windows, link, jsonOf }, common) {
  const figures = windows.points.map((point) => point.figures[metric]);
  const last = figures.findLastIndex((each) => each && each.value !== null);
  const describe = (at) => {
    const [point, each] = [windows.points[at], figures[at]];
    const said = !each || each.value === null ? reason(point.undefined[metric], each?.n) : `${number(each.value)} ${interval(each)} of ${count(each.n)}`;
    const range = each?.possible ? `, possible ${number(each.possible[0])} to ${number(each.possible[1])}` : "";
    return `${time(point.start, page.size_seconds)}, ${STATUSES[point.status]}: ${said}${range}`;
  };
  const reference = page.references[metric] ?? null;
  return figure({
    ...common, key: "metric", title: `${metric} by window`, height: CHART_HEIGHT, describe,
    legend: [["value", "--data", []], [`${page.confidence_level * 100} % interval`, "--interval"],
      figures.some((each) => each?.possible) ? ["what missing labels could make of it", "--possible"] : null,
      reference === null ? null : ["reference", "--ink-quiet", REFERENCE_DASH]].filter(Boolean),
    summary: last < 0 ? `No window has a figure yet.` : `Newest: ${describe(last)}`,
    data: figureData(windows.points.map(({ start }) => middle(start, page)), figures, windows.points.map(({ status }) => status === "final"), reference),
    series: figureSeries, bands: FIGURE_BANDS, csv: () => metricRows(windows, metric), json: jsonOf({ metrics: metric }),
    rows: () => [
      h("p", { class: "quiet" }, "Filled points are final, hollow ones may still move."),
      table(`${metric} by window`, ["Window", "State", ["Value", "n"], ["Low", "n"], ["High", "n"], ["n", "n"], ["Possible", "n"]],
        windows.points.map((point, at) => {
          const each = figures[at] ?? { value: null };
          return [
            h("td", {}, h("a", { href: link({ window: point.start }) }, time(point.start, page.size_seconds))), STATUSES[point.status],
            each.value === null ? reason(point.undefined[metric], each?.n) : number(each.value), number(each.low), number(each.high), count(each.n ?? 0),
            each.possible ? `${number(each.possible[0])} to ${number(each.possible[1])}` : "–",
          ];
        }).reverse()),
    ],
  });
}

/** The windows that are seen, for a file. */
export function metricRows(windows, metric) {
  return [
    ["window_start", "status", "predictions", "failed", "labelled", "never_labelled", metric, "low", "high", "n", "possible_low", "possible_high"],
    ...windows.points.map((point) => {
      const each = point.figures[metric] ?? {};
      return [point.start, point.status, point.predictions, point.failed, point.labelled, point.never_labelled,
        each.value, each.low, each.high, each.n, each.possible?.[0], each.possible?.[1]];
    }),
  ];
}

function trafficChart({ page, windows, jsonOf }, common) {
  const points = windows.points;
  const numbers = (point) => [point.predictions, point.labelled, due(point), point.never_labelled, point.failed];
  const describe = (at) => {
    const [predictions, labelled, stillDue, never, failed] = numbers(points[at]).map(count);
    return `${time(points[at].start, page.size_seconds)}: ${predictions} predictions, ${labelled} labelled, ${stillDue} due, `
      + `${never} never, ${failed} more failed`;
  };
  return figure({
    ...common, key: "traffic", title: "Predictions", height: LOW_CHART_HEIGHT, describe,
    legend: [["labelled", "--data"], ["never labelled", "--never"], ["still due", "--due"]],
    summary: `Newest: ${describe(points.length - 1)}`,
    data: [points.map(({ start }) => middle(start, page)), points.map((point) => point.predictions),
      points.map((point) => point.labelled + point.never_labelled), points.map((point) => point.labelled)],
    json: jsonOf({}), series: trafficSeries, unit: (value) => count(value), range: (_, __, high) => [0, high * 1.05 || 1],
    csv: () => [["window_start", "predictions", "labelled", "due", "never_labelled", "failed"], ...points.map((point) => [point.start, ...numbers(point)])],
    rows: () => table("Predictions by window", ["Window", ["Predictions", "n"], ["Labelled", "n"], ["Due", "n"], ["Never", "n"], ["Failed", "n"]],
      points.map((point) => [time(point.start, page.size_seconds), ...numbers(point).map(count)]).reverse()),
  });
}

const due = (point) => point.predictions - point.labelled - point.never_labelled;

/** Some lines: each with its name, its points, and the metric of them that is drawn. */
export function linesChart({ key, title, series, page, unit = number, ...rest }) {
  const starts = [...new Set(series.flatMap(({ points }) => points.map(({ start }) => start)))].sort();
  const values = series.map(({ points, metric }) => {
    const byStart = new Map(points.map((point) => [point.start, part(point.figures[metric], "value")]));
    return starts.map((start) => byStart.get(start) ?? null);
  });
  const names = series.map(({ name }) => name);
  const written = (value) => (value === null ? "–" : unit(value));
  const describe = (at) => `${time(starts[at], page.size_seconds)}: ${names.map((name, of) => `${name} ${written(values[of][at])}`).join(", ")}`;
  return figure({
    ...rest, key, title, unit, height: LOW_CHART_HEIGHT, describe, summary: starts.length ? `Newest: ${describe(starts.length - 1)}` : "",
    legend: names.map((name, at) => [name, ...DASHES[at]]),
    data: [starts.map((start) => middle(start, page)), ...values], series: lineSeries(DASHES.slice(0, names.length)),
    csv: () => [["window_start", ...names], ...starts.map((start, at) => [start, ...values.map((each) => each[at])])],
    rows: () => table(title, ["Window", ...names.map((name) => [name, "n"])],
      starts.map((start, at) => [time(start, page.size_seconds), ...values.map((each) => written(each[at]))]).reverse()),
  });
}
