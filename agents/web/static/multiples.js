// One small chart for each segment, worst first, all on the scales of time and metric that they share.

import { FIGURE_BANDS, figure, figureSeries } from "./chart.js";
import { h, table } from "./dom.js";
import { STATUSES, count, interval, number, segmentName, share, time } from "./format.js";
import { commonOf, figureData, middle } from "./model_charts.js";

const HEIGHT = 130;
const MORE = 48;
const MARGIN = 0.08;

/** What `/segments` answers, as a grid of charts. */
export function multiples(view, slices) {
  const { page, windows, link, jsonOf } = view;
  if (!slices.series.length || !windows.points.length) return null;
  const [low, high] = shared(slices.series);
  const margin = (high - low) * MARGIN || Math.abs(high) * MARGIN || 1;
  const common = { ...commonOf(view), height: HEIGHT, range: () => [low - margin, high + margin], ticks: [...new Set([low, high])], series: figureSeries, bands: FIGURE_BANDS };
  const isPart = slices.known > slices.series.length;
  return h("section", {},
    h("h2", {}, `${slices.metric} by segment, worst first`),
    h("p", { class: "quiet" },
      isPart ? `The ${count(slices.series.length)} worst of ${count(slices.known)}` : `All ${count(slices.known)}`,
      ` by the window of ${time(slices.judged, page.size_seconds)}, all on one scale. `,
      isPart && slices.series.length < MORE ? h("a", { href: link({ segments: MORE }), "data-key": "more segments" },
        slices.known > MORE ? `The ${MORE} worst` : `All ${count(slices.known)}`) : null, " ",
      h("a", { href: jsonOf({ metric: slices.metric, most: slices.series.length }, "/segments"), target: "_blank", rel: "noopener", "data-key": "json of segments" }, "JSON")),
    h("div", { class: "multiples" }, slices.series.map((each) => small(each, slices, page, link, common))));
}

/** From the least to the most of all values; what stands out of it of intervals is cut off. */
function shared(series) {
  const values = series.flatMap(({ points }) => points.map(([, , value]) => value)).filter((value) => value !== null);
  return values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
}

function small({ segment, points }, { metric, judged }, page, link, common) {
  const name = segmentName(segment);
  const figures = points.map(([, , value, low, high, n]) => ({ value, low, high, n }));
  const said = (at) => (figures[at].value === null ? "–" : `${number(figures[at].value)} ${interval(figures[at])} of ${count(figures[at].n)}`);
  const describe = (at) => `${said(at)}, ${time(points[at][0], page.size_seconds)}, ${STATUSES[points[at][1]]}`;
  const at = points.findIndex(([start]) => start === judged);
  const title = h("a", { href: link({ window: judged, segment: JSON.stringify(segment) }), "data-key": `segment ${name}` }, name);
  return figure({
    ...common, key: `segment ${name} chart`, title, describe, summary: at < 0 ? "" : said(at),
    data: figureData(points.map(([start]) => middle(start, page)), figures, points.map(([, status]) => status === "final")),
    csv: () => [["window_start", "status", metric, "low", "high", "n", "coverage"], ...points],
    rows: () => table(`${metric} of ${name}`, ["Window", "State", ["Value", "n"], ["Interval", "n"], ["n", "n"], ["Labelled", "n"]],
      points.map(([start, status, , , , , coverage], of) => [
        h("td", {}, h("a", { href: link({ window: start, segment: JSON.stringify(segment) }) }, time(start, page.size_seconds))), STATUSES[status],
        number(figures[of].value), interval(figures[of]), count(figures[of].n), share(coverage)]).reverse()),
  });
}
