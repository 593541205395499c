// What the model said of its own state, one chart for each signal under the event time of its figures.

import { FIGURE_BANDS, REFERENCE_DASH, distributionSeries, figure } from "./chart.js";
import { h, table } from "./dom.js";
import { STATUSES, count, number, share, time } from "./format.js";
import { DASHES, commonOf, linesChart, middle } from "./model_charts.js";

export const SIGNALS_SHOWN = 8;
const HEIGHT = 130;
const MORE = 48;
const MARGIN = 0.08;

/** What `/signals` answers: how each is distributed, then how many predictions do not tell it. */
export function signalCharts(view, { series, known }) {
  const { page, windows, link, jsonOf } = view;
  if (!series.length || !windows.points.length) return null;
  const isPart = known > series.length;
  const compared = series.find(({ level }) => level)?.level;
  return h("section", {},
    h("h2", {}, "Signals of the model's state"),
    h("p", { class: "quiet" },
      isPart ? `${count(series.length)} of ${count(known)}` : `All ${count(known)}`,
      compared ? `, furthest first from their reference (${time(compared.start, page.size_seconds)} to ${time(compared.end, page.size_seconds)}`
        + `${compared.version === page.version ? "" : ` of version ${compared.version}`}). ` : ". ",
      isPart && series.length < MORE ? h("a", { href: link({ signals: MORE }), "data-key": "more signals" }, known > MORE ? `The first ${MORE}` : `All ${count(known)}`) : null, " ",
      h("a", { href: jsonOf({ most: series.length }, "/signals"), target: "_blank", rel: "noopener", "data-key": "json of signals" }, "JSON")),
    h("div", { class: "charts" }, series.map((each) => chart(each, page, link, { ...commonOf(view), height: HEIGHT })), undefinedChart(series, view)));
}

/** Those that most predictions leave out now, as many as lines can be told apart; nothing where all are told. */
function undefinedChart(series, view) {
  const seldom = series.map(({ signal, points }) => ({ name: signal, metric: "share", points: points.map(named).map(({ start, undefinedShare }) => (
    { start, figures: { share: { value: undefinedShare } } })) }))
    .filter(({ points }) => points.some(({ figures }) => figures.share.value > 0));
  const now = ({ points }) => points.at(-1).figures.share.value ?? 0;
  seldom.sort((one, other) => now(other) - now(one));
  return seldom.length ? linesChart({
    ...commonOf(view), page: view.page, key: "undefined", title: "Undefined: share of predictions that do not tell a signal",
    series: seldom.slice(0, DASHES.length), unit: share, range: (_, __, high) => [0, Math.max(high * 1.05, 0.01)],
  }) : null;
}

/** A point of the answer, by name. */
const named = ([start, status, n, undefinedShare, p05, p25, p50, p75, p95, psi, low, high, moved]) =>
  ({ start, status, n, undefinedShare, p05, p25, p50, p75, p95, psi, low, high, moved });

const range = (low, high) => (low === null ? "–" : `${number(low)} to ${number(high)}`);

function chart({ signal, level, points: told }, page, link, common) {
  const points = told.map(named);
  const columns = (...names) => names.map((name) => points.map((point) => point[name]));
  const reference = level?.quartiles[1] ?? page.references[`signal.${signal}.p50`] ?? null;
  const ends = [...columns("p05", "p95").flat(), reference].filter((each) => each !== null);
  const [low, high] = ends.length ? [Math.min(...ends), Math.max(...ends)] : [0, 1];
  const margin = (high - low) * MARGIN || Math.abs(high) * MARGIN || 1;
  const said = (point) => `median ${number(point.p50)}, quartiles ${range(point.p25, point.p75)}, of ${count(point.n)}, `
    + `${share(point.undefinedShare)} undefined${point.psi === null ? "" : `, PSI ${number(point.psi)}`}${point.moved ? ", moved from its reference" : ""}`;
  const describe = (at) => `${time(points[at].start, page.size_seconds)}: ${said(points[at])}`;
  return figure({
    ...common, key: `signal ${signal}`, title: signal, describe,
    legend: [["median", "--data", []], ["quartiles", "--interval"], ["5 % to 95 %", "--possible"],
      reference === null ? null : ["reference", "--ink-quiet", REFERENCE_DASH],
      points.some(({ moved }) => moved) ? ["moved from it", "--warning", []] : null].filter(Boolean),
    summary: `Newest: ${describe(points.length - 1)}`,
    data: [points.map(({ start }) => middle(start, page)), ...columns("p05", "p95", "p25", "p75", "p50"),
      points.map(({ moved, p50 }) => (moved ? p50 : null)), points.map(() => reference)],
    range: () => [low - margin, high + margin], ticks: [...new Set([low, high])], series: distributionSeries, bands: FIGURE_BANDS,
    csv: () => [["window_start", "status", "n", "undefined_share", "p05", "p25", "p50", "p75", "p95", "psi", "psi_low", "psi_high", "moved"], ...told],
    rows: () => [
      level ? h("p", { class: "quiet" }, `Reference: median ${number(level.quartiles[1])}, quartiles ${range(level.quartiles[0], level.quartiles[2])}.`) : null,
      table(`${signal} by window`, ["Window", "State", ["Median", "n"], ["Quartiles", "n"], ["5 % to 95 %", "n"], ["n", "n"], ["Undefined", "n"], ["PSI", "n"], ["Interval", "n"], "Reference"],
        points.map((point) => [
          h("td", {}, h("a", { href: link({ window: point.start }) }, time(point.start, page.size_seconds))), STATUSES[point.status],
          number(point.p50), range(point.p25, point.p75), range(point.p05, point.p95), count(point.n), share(point.undefinedShare),
          number(point.psi), point.low === null ? "" : `[${number(point.low)}, ${number(point.high)}]`,
          point.moved ? h("strong", { class: "warning" }, "◆ moved") : point.psi === null ? "" : "alike",
        ]).reverse()),
    ],
  });
}
