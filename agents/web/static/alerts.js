// Alerts: what fires and since when, why, and what was.

import { ask } from "./api.js";
import { h, replace } from "./dom.js";
import { age, count, duration, number, segmentName, share, time } from "./format.js";

const PHASES = {
  firing: ["▲", "Firing", "firing"], pending: ["◆", "Pending", "warning"], resolved: ["●", "Resolved", "ok"],
  stale: ["○", "Stale", "no_data"], no_data: ["○", "No data", "no_data"],
  insufficient_data: ["◔", "Too few labels", "labels_pending"], inactive: ["●", "Fine", "ok"],
};

let drawn = null;

export async function showAlerts({ root, isCurrent, afresh }) {
  const answer = await ask("/alerts");
  if (!isCurrent() || (answer === drawn && !afresh)) return "Alerts";
  drawn = answer;
  const watchdogs = answer.alerts.filter(({ phase, reason }) => phase === "firing" && reason === "always");
  const looked = answer.alerts.filter((alert) => !watchdogs.includes(alert));
  const shown = looked.filter(({ phase }) => ["firing", "pending", "resolved"].includes(phase));
  const rest = looked.filter((alert) => !shown.includes(alert));
  replace(root, h("h1", {}, "Alerts"), looked.length ? null : empty(),
    shown.length ? h("ul", { class: "alerts", "aria-live": "polite" }, shown.map(item))
      : looked.length ? h("p", { class: "lead" }, "Nothing fires and nothing is about to.") : null,
    // No trouble: trouble is when a receiver hears it no more.
    watchdogs.map(({ alert, since }) => h("p", { class: "quiet" }, `${alert} fires, as it always does while the monitor works; since ${time(since)}.`)),
    rest.length ? h("details", { "data-key": "rest" }, h("summary", { "data-key": "rest summary" }, `${count(rest.length)} more that rules look at`),
      h("ul", { class: "alerts" }, rest.map(item))) : null);
  return "Alerts";
}

function item(alert) {
  const [sign, word, kind] = PHASES[alert.phase] ?? ["○", alert.phase, "no_data"];
  const key = JSON.stringify([alert.group, alert.alert, alert.labels, alert.size_seconds]);
  return h("li", {},
    h("h2", {}, h("span", { class: `state ${kind}` }, h("span", { "aria-hidden": "true" }, sign), ` ${word}`), ` ${alert.alert} `, subject(alert, key)),
    h("p", {}, alert.reason.replaceAll("_", " "), alert.since ? `, since ${time(alert.since)} (${age(alert.since)})` : null,
      alert.window ? [h("br"), said(alert)] : null),
    h("details", { "data-key": key }, h("summary", { "data-key": `${key} summary` }, "Labels and history"),
      h("p", {}, Object.entries(alert.labels).map(([name, value]) => h("code", {}, `${name}="${value}" `))),
      h("ol", {}, alert.history.map(({ at, phase, reason }) => h("li", {}, `${time(at)}: ${phase.replaceAll("_", " ")}, ${reason.replaceAll("_", " ")}`)))));
}

function subject(alert, key) {
  if (alert.model === null) return h("small", {}, "the monitor itself");
  const target = new URLSearchParams({ model: alert.model, version: alert.version, size: alert.size_seconds });
  if (alert.window) target.set("window", alert.window.start);
  if (Object.keys(alert.segment).length) target.set("segment", JSON.stringify(alert.segment));
  return h("a", { href: `/?${target}`, "data-key": `${key} subject` },
    `${alert.model}${alert.version ? ` ${alert.version}` : ""}${Object.keys(alert.segment).length ? `, ${segmentName(alert.segment)}` : ""}${alert.labels.signal ? `, ${alert.labels.signal}` : ""}`);
}

function said({ window, size_seconds }) {
  const bounds = window.low === null ? "" : ` [${number(window.low)}, ${number(window.high)}]`;
  const threshold = window.threshold === null ? "" : ` against ${number(window.threshold)}`;
  return `${number(window.value)}${bounds} of ${count(window.n)}${threshold}, ${share(window.coverage)} labelled, `
    + `${duration(size_seconds)} from ${time(window.start, size_seconds)}`;
}

function empty() {
  return h("p", {}, "No rule looks at anything yet. Rules stand in the files that ", h("code", {}, "rule_files"),
    " names in the configuration; ", h("code", {}, "latelabel config check"), " tells whether they are read.");
}
