// Parts that the views of a model and of a window share.

import { h, table } from "./dom.js";
import { count, interval, number, reason, roughly, segmentName, share } from "./format.js";

const CLASSES_SHOWN = 12;
const CONFUSIONS_SHOWN = 30;
const SEGMENTS_SHOWN = 50;

/** Counts and row shares; of many classes only the commonest confusions. */
export function confusion(report) {
  if (!report.confusion || !report.confusion.classes.length) return null;
  const { classes, counts } = report.confusion;
  const whole = classes.length <= CLASSES_SHOWN;
  return h("section", {}, h("h2", {}, "Confusion"),
    whole ? matrix(classes, counts) : confusions(classes, counts));
}

function matrix(classes, counts) {
  return table("Rows are labels, columns predictions", ["label \\ prediction", ...classes.map((name) => [name, "n"])],
    counts.map((row, at) => {
      const total = row.reduce((sum, each) => sum + each, 0);
      return [h("th", { scope: "row" }, classes[at]), ...row.map((each, of) =>
        h("td", { class: at === of ? "n hit" : "n", style: `--share:${total ? each / total : 0}` }, count(each),
          h("small", {}, total ? share(each / total) : "–")))];
    }), { class: "matrix" });
}

function confusions(classes, counts) {
  const wrong = [];
  counts.forEach((row, at) => row.forEach((each, of) => at !== of && each && wrong.push([classes[at], classes[of], each])));
  wrong.sort((one, other) => other[2] - one[2]);
  return [
    h("p", { class: "quiet" }, `${classes.length} classes; the ${Math.min(wrong.length, CONFUSIONS_SHOWN)} commonest of ${count(wrong.length)} confusions.`),
    table("Commonest confusions", ["Label", "Predicted", ["Count", "n"]],
      wrong.slice(0, CONFUSIONS_SHOWN).map(([label, prediction, each]) => [label, prediction, count(each)])),
  ];
}

/** How long labels took. */
export function delays(report) {
  const delay = report.label_delay_seconds;
  if (!delay) return null;
  return h("section", {}, h("h2", {}, "Label delay"),
    table("Label delay", ["Share of labels", ["within", "n"]],
      [["half", delay.p50], ["90 %", delay.p90], ["99 %", delay.p99]].map(([part, seconds]) => [part, roughly(seconds)])));
}

/** Slices of one window by the better end of their interval, worst first where it is known which way is better; each with
 * its bar on a common scale. */
export function segments(reports, metric, href, better) {
  const slices = reports.filter((report) => report.kind === "quality" && Object.keys(report.segment).length);
  if (!slices.length) return null;
  const known = slices.filter((report) => report.metrics[metric]?.value !== null && report.metrics[metric]);
  const ends = known.flatMap(({ metrics }) => [metrics[metric].low, metrics[metric].high]);
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  const order = better && better !== "unknown" ? "worst" : "lowest";
  const place = ({ metrics: { [metric]: each } }) => (!each || each.high === null ? Infinity
    : better === "less" ? -each.low : better === "near_zero" ? -Math.max(each.low, -each.high, 0) : each.high);
  slices.sort((one, other) => place(one) - place(other));
  return h("section", {}, h("h2", {}, "Segments"), slices.length > SEGMENTS_SHOWN
    ? h("p", { class: "quiet" }, `The ${SEGMENTS_SHOWN} ${order} of ${count(slices.length)}.`) : null,
    table(`${metric} by segment, ${order} first`, ["Segment", ["Value", "n"], "Interval", ["n", "n"], ["Labelled", "n"]],
      slices.slice(0, SEGMENTS_SHOWN).map((report) => {
        const each = report.metrics[metric] ?? { value: null, n: 0 };
        const target = href(report.segment);
        return [
          h("th", { scope: "row" }, h("a", { href: target, "data-key": target }, segmentName(report.segment))),
          each.value === null ? reason(report.undefined[metric], each.n) : number(each.value),
          each.value === null ? "" : bar(each, low, high),
          count(each.n), share(report.coverage),
        ];
      })));
}

function bar(metric, low, high) {
  const [width, height] = [140, 14];
  const x = (value) => (high === low ? width / 2 : 4 + ((value - low) / (high - low)) * (width - 8)).toFixed(1);
  return h("svg", { class: "bar", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": interval(metric) },
    h("line", { x1: x(metric.low), x2: x(metric.high), y1: height / 2, y2: height / 2 }),
    h("circle", { cx: x(metric.value), cy: height / 2, r: 4 }));
}
