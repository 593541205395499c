// What the processes took that serve a model, under the event time of its figures.

import { barSeries, figure } from "./chart.js";
import { h, table } from "./dom.js";
import { bytes, count, number, time } from "./format.js";
import { middle } from "./model_charts.js";

export const RESOURCES = ["rss_bytes", "working_set_bytes", "cpu_cores_mean", "restarts", "oom_kills"];
const TARGETS = 5;
const RESTARTS_HEIGHT = 100;
const POWERS = Array.from({ length: 50 }, (_, at) => 2 ** at); // whole units on the axis of memory

/** The targets of a window, those with the most memory first, as many as lines can be told apart. */
export function resourceTargets(reports) {
  const found = reports.filter(({ kind }) => kind === "resources");
  found.sort((one, other) => (other.memory?.bytes ?? 0) - (one.memory?.bytes ?? 0));
  return { shown: found.slice(0, TARGETS).map(({ segment }) => segment.target), known: found.length };
}

/** Memory and CPU with a line for each target, and how often any was started anew. */
export function resourceCharts({ targets, resources, lines, common, page }) {
  const found = targets.shown.map((name, at) => ({ name, points: resources[at].points })).filter(({ points }) => points.length);
  if (!found.length) return null;
  const some = targets.known > found.length ? `, the ${found.length} largest of ${count(targets.known)} targets` : "";
  const ofEach = (metric) => found.map((each) => ({ ...each, metric: metric(each) }));
  return [
    lines({ key: "memory", title: `Memory${some}`, series: ofEach(memoryMetric), unit: bytes, steps: POWERS }),
    lines({ key: "cpu", title: `CPU, cores${some}`, series: ofEach(() => "cpu_cores_mean"), unit: number }),
    restarts(found, some, common, page),
  ];
}

/** Of a container its working set, which is what its limit counts; else what its processes hold. */
const memoryMetric = ({ points }) =>
  (points.some(({ figures }) => (figures.working_set_bytes?.value ?? null) !== null) ? "working_set_bytes" : "rss_bytes");

function restarts(found, some, common, page) {
  const starts = [...new Set(found.flatMap(({ points }) => points.map(({ start }) => start)))].sort();
  const byTarget = found.map(({ points }) => new Map(points.map((point) => [point.start, point.figures])));
  const of = (figures, name) => figures?.[name]?.value ?? 0;
  const sums = (name) => starts.map((start) => byTarget.reduce((sum, figures) => sum + of(figures.get(start), name), 0));
  const [began, killed] = [sums("restarts"), sums("oom_kills")];
  const total = (values) => values.reduce((sum, each) => sum + each, 0);
  const which = (at) => found.filter((_, of_) => of(byTarget[of_].get(starts[at]), "restarts")).map(({ name }) => name).join(", ") || "none";
  const describe = (at) => `${time(starts[at], page.size_seconds)}: ${count(began[at])} restarts (${which(at)}), ${count(killed[at])} killed for want of memory`;
  return figure({
    ...common, key: "restarts", title: `Restarts${some}`, height: RESTARTS_HEIGHT, describe,
    legend: [["restarts", "--second"], ["killed for want of memory", "--firing"]],
    summary: `In this span: ${count(total(began))} restarts, ${count(total(killed))} killed for want of memory`,
    data: [starts.map((start) => middle(start, page)), began, killed], series: barSeries(["--second", "--firing"]),
    unit: (value) => (Number.isInteger(value) ? count(value) : ""), range: (_, __, high) => [0, Math.max(high * 1.05, 1)],
    csv: () => [["window_start", "restarts", "oom_kills", "targets"], ...starts.map((start, at) => [start, began[at], killed[at], which(at)])],
    rows: () => table("Restarts by window", ["Window", ["Restarts", "n"], ["Killed for want of memory", "n"], "Targets"],
      starts.map((start, at) => [h("td", {}, time(start, page.size_seconds)), count(began[at]), count(killed[at]), which(at)]).reverse()),
  });
}
