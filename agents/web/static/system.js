// The monitor itself, as the worker that serves this page sees it.

import { ask } from "./api.js";
import { h, replace, table } from "./dom.js";
import { count, time } from "./format.js";
import { askLetters, deadLetters } from "./records.js";

export async function showSystem({ root, query, isCurrent }) {
  const [system, letters] = await Promise.all([ask("/system"), askLetters(query)]);
  if (!isCurrent()) return "System";
  const look = (at) => `/?${new URLSearchParams({ view: "system", ...(at ? { letter: at } : {}) })}`;
  replace(root,
    h("h1", {}, "System"),
    h("p", { class: "lead" }, system.unready ? `This worker does not read: ${system.unready}.` : "This worker reads.",
      h("br"), h("span", { class: "quiet" }, `Latelabel ${system.version}, configuration ${system.config_hash}`)),
    h("div", { class: "columns" },
      h("section", {}, h("h2", {}, "Partitions"),
        table("The lowest of all shards, by partition", ["Topic", ["Partition", "n"], ["Counted to", "n"], ["Lag", "n"], "Watermark"],
          system.partitions.map((each) => [each.topic, String(each.partition), count(each.counted_to), each.lag === null ? "–" : count(each.lag),
            each.watermark ? time(each.watermark) : "–"]))),
      h("section", {}, h("h2", {}, "What became of records"),
        Object.entries(system.fates).map(([topic, fates]) => table(topic, [topic, ["Records", "n"]],
          Object.entries(fates).map(([fate, records]) => [h("th", { scope: "row" }, fate.replaceAll("_", " ")), count(records)])))),
      deadLetters(letters, look),
      h("section", { class: "double" }, h("h2", {}, "This worker"),
        table("Metrics of this worker", ["Metric", ["Value", "n"], "Meaning"],
          system.metrics.filter(({ name }) => name !== "latelabel_lag_offsets").flatMap(({ name, meaning, values }) =>
            values.map(({ labels, value }) => [
              h("th", { scope: "row" }, [name, ...Object.entries(labels).map(([label, of]) => `${label}=${of}`)].join(" ")),
              Number.isInteger(value) ? count(value) : String(value), meaning]))))));
  return "System";
}
