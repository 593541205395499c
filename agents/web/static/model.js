// One model version: its figures over event time, and everything about the window it is judged by.

import { address, ask, modelPath } from "./api.js";
import { download } from "./download.js";
import { broken, h, replace, table } from "./dom.js";
import { STATUSES, age, count, duration, interval, number, reason, segmentName, share, time } from "./format.js";
import { charts, metricRows, ofStability } from "./model_charts.js";
import { RESOURCES, resourceTargets } from "./resources.js";
import { multiples } from "./multiples.js";
import { SIGNALS_SHOWN, signalCharts } from "./signals.js";
import { confusion, delays, segments } from "./parts.js";

const WINDOWS = 300;
const VERSIONS_COMPARED = 4;

let drawn = null;

export async function showModel({ root, query, go, isCurrent, afresh }) {
  const name = query.get("model");
  const page = await ask(modelPath(name), { version: query.get("version"), size: query.get("size") });
  const metric = query.get("metric") ?? page.metric;
  const asked = {
    version: page.version, size: page.size_seconds, since: query.get("since"), until: query.get("until"), limit: WINDOWS,
  };
  const windowsOf = (more) => ask(modelPath(name, "/windows"), { ...asked, ...more });
  const alertsIn = (phase) => ask("/alerts", { model: name, phase });
  const others = page.versions.filter(({ version }) => version !== page.version).slice(0, VERSIONS_COMPARED);
  const [windows, judged, firing, pending, stability, told, ...compared] = await Promise.all([
    windowsOf({ metrics: metric }),
    ask(modelPath(name, `/windows/${page.judged}`), { version: page.version, size: page.size_seconds }),
    alertsIn("firing"), alertsIn("pending"),
    page.kinds.includes("stability") ? windowsOf(ofStability).catch(nothing) : null,
    page.kinds.includes("signals") ? ask(modelPath(name, "/signals"), { ...asked, most: query.get("signals") ?? SIGNALS_SHOWN }).catch(nothing) : null,
    ...others.map(({ version }) => windowsOf({ version, metrics: metric }).catch(nothing)),
  ]);
  const isSliced = judged.reports.some(({ kind, segment }) => kind === "quality" && Object.keys(segment).length);
  // Processes come and go: those of the end of the span are shown.
  const last = query.get("until") && windows.points.at(-1);
  const ending = last ? await ask(modelPath(name, `/windows/${last.start}`), { version: page.version, size: page.size_seconds }) : judged;
  const targets = resourceTargets(ending.reports);
  const [slices, ...resources] = await Promise.all([
    isSliced ? ask(modelPath(name, "/segments"), { ...asked, metric, most: query.get("segments") }) : null,
    ...targets.shown.map((target) => windowsOf({ kind: "resources", segment: JSON.stringify({ target }), metrics: RESOURCES.join(",") })),
  ]);
  const news = [page, windows, judged, firing, pending, stability, told, slices, ...compared, ...resources];
  if (!isCurrent() || (!afresh && drawn?.every((each, at) => each === news[at]))) return title(page);
  drawn = news;

  const link = (changes) => addressOf({ ...Object.fromEntries(query), version: page.version, ...changes });
  const zoom = (from, to) => go(link({ since: iso(from), until: iso(to) }));
  const jsonOf = (more, path = "/windows") => address(modelPath(name, path), { ...asked, ...more });
  const view = { page, metric, windows, link, zoom, query, go, jsonOf };
  replace(root,
    heading(view), alarms(view, [...firing.alerts, ...pending.alerts]), standing(view, judged), span(view),
    charts(view, {
      stability, versions: [{ version: page.version, windows }, ...others.map(({ version }, at) => ({ version, windows: compared[at] }))],
      targets, resources,
    }),
    told ? signalCharts(view, told) : null, slices ? multiples(view, slices) : null, about(view, judged));
  return title(page);
}

const nothing = () => null;
const title = (page) => (page.version ? `${page.model} ${page.version}` : page.model);
const iso = (seconds) => new Date(Math.round(seconds) * 1000).toISOString().replace(".000", "");

/** An address of this page; parameters that are null are left out. */
function addressOf(parameters) {
  return `/?${new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== null))}`;
}

function heading({ page, metric, windows, link, go, jsonOf }) {
  const choice = (key, label, names, chosen, change) => names.length < 2 ? null : h("label", {}, label, " ",
    h("select", { "data-key": key, onchange: (event) => go(link(change(event.target.value))) },
      names.map(([value, text]) => h("option", { value, selected: value === chosen }, text))));
  return [
    h("h1", {}, page.model, page.version ? h("small", {}, ` version ${page.version}`) : null),
    h("form", { class: "choices", onsubmit: (event) => event.preventDefault() },
      choice("version", "Version", page.versions.map(({ version }) => [version, version || "(none)"]), page.version, (version) => ({ version })),
      choice("metric", "Metric", page.metrics.map((each) => [each.name, each.name]), metric, (value) => ({ metric: value })),
      choice("size", "Windows", page.sizes.map((size) => [String(size), duration(size)]), String(page.size_seconds), (size) => ({ size })),
      h("a", { href: jsonOf({ metrics: metric }), target: "_blank", rel: "noopener", "data-key": "json" }, "JSON"),
      h("button", { type: "button", "data-key": "csv", onclick: () => download(`${page.model}-${metric}.csv`, metricRows(windows, metric)) }, "CSV")),
    h("p", { class: "quiet" }, page.metrics.find((each) => each.name === metric)?.meaning ?? ""),
  ];
}

/** What fires or is about to, of this version. */
function alarms({ page, link }, alerts) {
  const own = alerts.filter(({ version }) => version === page.version);
  return own.length ? h("ul", { class: "alarms" }, own.map((alert) => {
    const [sign, word, kind] = alert.phase === "firing" ? ["▲", "Firing", "firing"] : ["◆", "Pending", "warning"];
    const target = { window: alert.window?.start ?? null, size: alert.size_seconds, segment: Object.keys(alert.segment).length ? JSON.stringify(alert.segment) : null };
    const signal = alert.labels.signal ? `${alert.labels.signal}, ` : "";
    const about = `${signal}${segmentName(alert.segment)}, ${duration(alert.size_seconds)}`;
    return h("li", {}, h("span", { class: `state ${kind}` }, h("span", { "aria-hidden": "true" }, sign), ` ${word}`), " ",
      h("a", { href: "/?view=alerts", "data-key": `alert ${alert.alert} ${about}` }, alert.alert), ": ",
      alert.window ? h("a", { href: link(target), "data-key": `alert of ${alert.alert} ${about}` }, about) : about,
      alert.since ? `, since ${time(alert.since)} (${age(alert.since)})` : null);
  })) : null;
}

function standing({ page, metric, link }, { reports }) {
  const report = reports[0];
  const metricNow = report.metrics[metric];
  const value = !metricNow ? `There is no ${metric} here` : metricNow.value === null
    ? `${metric}: ${reason(report.undefined[metric], metricNow.n)}`
    : [h("strong", {}, number(metricNow.value)), ` ${metric} ${interval(metricNow)} of ${count(metricNow.n)}`];
  const due = report.predictions - report.labelled - report.never_labelled;
  return h("p", { class: "lead" },
    value, metric in page.references ? `, reference ${number(page.references[metric])}` : null,
    h("br"), `${count(report.predictions)} predictions from `,
    h("a", { href: link({ window: report.window.start }), "data-key": "judged" }, time(report.window.start, page.size_seconds)),
    `: ${count(report.labelled)} labelled (${share(report.coverage)}), ${count(due)} due, ${count(report.never_labelled)} never; `,
    h("span", { class: `status ${report.status}` }, STATUSES[report.status]), `, reported ${age(report.produced_at)}`);
}

/** From when to when is shown, and the ways to another span; dragging over a chart is one more. */
function span({ page, windows, link, query }) {
  const { size_seconds: size } = page;
  const seconds = (text) => Date.parse(text) / 1000;
  const [since, until] = [query.get("since"), query.get("until")];
  const [first, last] = [windows.points[0]?.start, windows.points.at(-1)?.start];
  const end = until ? seconds(until) : last ? seconds(last) + size : seconds(page.newest) + size;
  const start = since && !windows.next_until ? seconds(since) : first ? seconds(first) : end - size;
  const whole = (at) => iso(Math.round(at / size) * size);
  const to = (key, text, from, until) => h("a", { href: link({ since: whole(from), until: whole(until) }), "data-key": key }, text);
  const length = Math.max(end - start, size);
  const isZoomed = since || until;
  return h("p", { class: "choices" },
    h("span", {}, `${time(iso(start), size)} to ${time(iso(end), size)}`),
    to("earlier", "Earlier", start - length, start),
    end <= seconds(page.newest) ? to("later", "Later", end, end + length) : null,
    length > size ? to("in", "Zoom in", start + length / 4, end - length / 4) : null,
    to("out", "Zoom out", start - length / 2, end + length / 2),
    isZoomed ? h("a", { href: link({ since: null, until: null }), "data-key": "whole" }, "Newest windows") : null,
    isZoomed && windows.next_until ? h("span", { class: "quiet" }, `the newest ${count(windows.points.length)} windows of the span`) : null);
}

// --- the window it is judged by --------------------------------------------------------------------------------------

function about({ page, metric, link }, { reports }) {
  const report = reports[0];
  return h("div", { class: "columns" },
    confusion(report), delays(report), segments(reports, metric, (segment) => link({ window: report.window.start, segment: JSON.stringify(segment) }), betterOf(page, metric)),
    h("section", {}, h("h2", {}, "All figures"), h("p", { class: "quiet" }, `Of ${time(report.window.start, page.size_seconds)}, ${segmentName(report.segment)}.`),
      table("All figures of this window", ["Metric", ["Value", "n"], ["Interval", "n"], ["n", "n"]],
        Object.entries(report.metrics).map(([name, each]) => [
          h("th", { scope: "row" }, h("a", { href: link({ metric: name }), "data-key": `metric ${name}` }, broken(name))),
          each.value === null ? reason(report.undefined[name], each.n) : number(each.value), interval(each), count(each.n)]))));
}

const betterOf = (page, metric) => page.metrics.find(({ name }) => name === metric)?.better;
