// One window of one model version: every figure of every slice, and when it was revised.

import { address, ask, modelPath } from "./api.js";
import { broken, h, replace, table } from "./dom.js";
import { STATUSES, age, count, duration, interval, number, reason, segmentName, share, time } from "./format.js";
import { confusion, delays, segments } from "./parts.js";
import { askWrong, wrongRecords } from "./records.js";

let drawn = null;
let drawnWrong = null;

export async function showWindow({ root, query, isCurrent, afresh }) {
  const name = query.get("model");
  const path = modelPath(name, `/windows/${query.get("window")}`);
  const parameters = { version: query.get("version"), size: query.get("size") };
  const window = await ask(path, parameters);
  const wrong = await askWrong(window, query);
  const title = `${name} ${window.version} ${window.start}`;
  if (!isCurrent() || (window === drawn && wrong === drawnWrong && !afresh)) return title;
  [drawn, drawnWrong] = [window, wrong];
  const wanted = query.get("segment") ?? "{}";
  const same = (report) => JSON.stringify(report.segment) === wanted;
  const report = window.reports.find((each) => each.kind === "quality" && same(each)) ?? window.reports[0];
  const companions = window.reports.filter((each) => each.kind !== "quality" && (same(each) || each.kind === "resources"));
  const metric = query.get("metric") ?? Object.keys(report.metrics)[0];
  const link = (changes, ...dropped) => {
    const target = new URLSearchParams({ ...Object.fromEntries(query), version: window.version, size: window.size_seconds, ...changes });
    for (const each of dropped) target.delete(each);
    return `/?${target}`;
  };
  const step = (windows) => new Date(Date.parse(window.start) + windows * window.size_seconds * 1000).toISOString().replace(".000", "");
  replace(root,
    h("h1", {}, h("a", { href: link({}, "window", "segment"), "data-key": "model" }, name), window.version ? h("small", {}, ` version ${window.version}`) : null),
    h("p", { class: "choices" },
      h("a", { href: link({ window: step(-1) }), "data-key": "earlier", rel: "prev" }, "Earlier"),
      h("strong", {}, `${time(window.start, window.size_seconds)}, ${duration(window.size_seconds)}`),
      h("a", { href: link({ window: step(1) }), "data-key": "later", rel: "next" }, "Later"),
      wanted === "{}" ? null : h("a", { href: link({}, "segment"), "data-key": "everything" }, "All predictions"),
      h("a", { href: address(path, parameters), target: "_blank", rel: "noopener" }, "JSON")),
    summary(report),
    h("div", { class: "columns" },
      figures("Figures", report), companions.map((each) => figures(heading(each), each)),
      confusion(report), perClass(report), delays(report),
      wanted === "{}" ? segments(window.reports, metric, (segment) => link({ segment: JSON.stringify(segment) }), window.better[metric]) : null),
    wrongRecords(wrong, report, (shown) => link({ records: shown })));
  return title;
}

const heading = (report) => {
  const name = report.kind[0].toUpperCase() + report.kind.slice(1);
  return Object.keys(report.segment).length ? `${name}, ${segmentName(report.segment)}` : name;
};

function summary(report) {
  const due = report.predictions - report.labelled - report.never_labelled;
  return h("p", { class: "lead" }, `${segmentName(report.segment)}: ${count(report.predictions)} predictions, ${count(report.failed)} more failed; `,
    `${count(report.labelled)} labelled (${share(report.coverage)}), ${count(due)} due, ${count(report.never_labelled)} never. `,
    report.coverage_expected ? `Usual at this age: ${share(report.coverage_expected.now)}, in the end ${share(report.coverage_expected.final)}. ` : null,
    h("span", { class: `status ${report.status}` }, STATUSES[report.status]),
    report.missing?.length ? `: ${report.missing.join("; ")}` : null,
    h("br"), h("span", { class: "quiet" }, `Revision ${report.revision}, ${time(report.produced_at)}, ${age(report.produced_at)}`));
}

function figures(title, report) {
  return h("section", { class: "double" }, h("h2", {}, title),
    table(title, ["Metric", ["Value", "n"], ["Interval", "n"], ["n", "n"], ["Possible", "n"]],
      Object.entries(report.metrics).map(([name, each]) => [
        h("th", { scope: "row" }, broken(name)), each.value === null ? reason(report.undefined[name], each.n) : sized(name, each.value),
        interval(each), count(each.n), each.possible ? `${number(each.possible[0])} to ${number(each.possible[1])}` : "–"])));
}

const sized = (name, value) => (name.endsWith("_bytes") ? `${number(value / 2 ** 20)} MiB` : number(value));

function perClass(report) {
  const classes = Object.entries(report.per_class ?? {});
  const { classes: names, counts } = report.confusion ?? { classes: [] };
  const wrong = (name, { support }) => (names.includes(name) ? count(support - counts[names.indexOf(name)][names.indexOf(name)]) : "–");
  if (!classes.length) return null;
  return h("section", {}, h("h2", {}, "Classes"),
    table("Each class against the rest", ["Class", ["Precision", "n"], ["Recall", "n"], ["F1", "n"], ["Labels", "n"], ["Wrong", "n"]],
      classes.map(([name, each]) => [h("th", { scope: "row" }, name), number(each.precision), number(each.recall), number(each.f1), count(each.support), wrong(name, each)])));
}
