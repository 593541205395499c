// Single records: wrong predictions with what explains them, and dead letters.

import { Unanswered, address, ask, modelPath } from "./api.js";
import { h, table } from "./dom.js";
import { age, count, number, share, time } from "./format.js";

const WRONG_SHOWN = 5;
const WRONG_MORE = 20;
const WRONG_MOST = 100;
const VALUE_CHARACTERS = 120;

const FAILURES = {
  retention_passed: "Kafka no longer has the record", not_configured: "the explainer does not know how the model is asked",
  no_features: "the prediction came without features", missing_values: "a feature has no value", too_slow: "the model took too long",
  crashed: "the model ended its process", out_of_memory: "the model needed too much memory", unreachable: "the model does not answer",
};
const NOTES = {
  constant_answer: "The model answered the same to every neighbour.", sum_not_one: "The model's probabilities do not sum to 1.",
  version_differs: "Another version answered than the one that predicted.", version_unknown: "The model did not say which version answered.",
  answer_differs: "Asked again, the model answers otherwise than it did: by another version, by other features, or with explain.classes in another order.", unseen_value: "A category was never seen before.",
};

/** What was not answered, instead of an answer: the rest of the view is shown all the same. */
async function attempt(path, parameters) {
  try {
    return await ask(path, parameters);
  } catch (error) {
    if (!(error instanceof Unanswered) || error.status === 0 || error.status === 429) throw error;
    return error;
  }
}

// --- wrong predictions --------------------------------------------------------------------------------------------

/** Explained predictions of the window that its label says were wrong. */
export function askWrong(window, query) {
  const end = Date.parse(window.start) + window.size_seconds * 1000;
  const most = Math.min(Number(query.get("records")) || WRONG_SHOWN, WRONG_MOST);
  const segment = query.get("segment");
  return attempt(modelPath(window.model, "/explanations"), {
    version: window.version, since: window.start, until: new Date(end).toISOString(), wrong: "true", limit: most,
    segment: segment === "{}" ? null : segment,
  });
}

export function wrongRecords(answer, report, href) {
  if (report.kind !== "quality" || !report.confusion) return null;
  return h("section", { class: "records" }, h("h2", {}, "Wrong predictions, explained"), ...said(answer, href));
}

function said(answer, href) {
  if (answer instanceof Unanswered) return [h("p", { class: "quiet" }, `Not shown: ${answer.message}.`)];
  const trouble = answer.trouble ? h("p", { class: "quiet" }, `There may be newer ones: ${answer.trouble}.`) : null;
  if (!answer.explanations.length) return [h("p", { class: "quiet" }, none(answer)), trouble];
  return [
    h("p", { class: "quiet" }, "A sample; bars to the right speak for the class that was predicted, to the left against it. ",
      "They tell what the model did, not what is true of the world."), trouble,
    h("ul", { class: "plain" }, answer.explanations.map(record)),
    answer.next_cursor && answer.explanations.length < WRONG_MOST
      ? h("p", {}, h("a", { href: href(Math.min(answer.explanations.length + WRONG_MORE, WRONG_MOST)), "data-key": "more" }, "Show more")) : null,
  ];
}

function none(answer) {
  return answer.is_explained
    ? "None of this window has been explained: a few a minute are, and this worker shows the newest ones. The others stand on the topic of explanations."
    : ["This model is not explained; ", h("code", {}, "explain.predictor"), " in its configuration says how it is asked."];
}

const name = (each) => (each.instance ? `${each.request_id} / ${each.instance}` : each.request_id);

function record(each) {
  const key = JSON.stringify([each.request_id, each.instance]);
  return h("li", { class: "record" },
    h("h3", {}, h("code", {}, name(each))),
    h("p", {}, "Label ", h("strong", {}, each.label), ", predicted ", h("strong", {}, each.predicted),
      each.answer === undefined ? null : ` (asked again: ${number(each.answer)})`,
      h("span", { class: "quiet" }, ` · ${time(each.event_time)}`)),
    each.failure ? h("p", {}, `Not explained: ${FAILURES[each.failure.reason] ?? each.failure.reason.replaceAll("_", " ")}. `, h("span", { class: "quiet" }, each.failure.message))
      : attributions(each),
    ...(each.notes ?? []).map((note) => h("p", { class: "warning" }, NOTES[note] ?? note.replaceAll("_", " "))),
    h("details", { "data-key": key }, h("summary", { "data-key": `${key} summary` }, "Inputs and how sure this is"), inputs(each), trust(each),
      h("p", {}, h("code", {}, `${each.source.topic}/${each.source.partition}@${each.source.offset}`))));
}

function attributions(each) {
  const rows = each.attributions ?? [];
  if (!rows.length) return h("p", {}, "No feature mattered.");
  const reach = Math.max(...rows.map((row) => Math.abs(row.weight) + (row.standard_error ?? 0)), 1e-9);
  return table(`What spoke for ${each.explained_class ?? "the answer"}: ${name(each)}`, ["Feature", "Against, for", ["Weight", "n"]],
    rows.map((row) => [h("th", { scope: "row" }, cut(row.rule)), weightBar(row, reach),
      `${row.weight < 0 ? "−" : "+"}${number(Math.abs(row.weight))}${row.standard_error === null ? "" : ` ± ${number(row.standard_error)}`}`]),
    { class: "weights" });
}

function weightBar({ weight, standard_error }, reach) {
  const [width, height] = [200, 14];
  const scale = width / 2 / reach;
  const end = width / 2 + weight * scale;
  const [low, high] = [end - (standard_error ?? 0) * scale, end + (standard_error ?? 0) * scale];
  return h("svg", { class: `weight ${weight < 0 ? "against" : "for"}`, viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" },
    h("line", { class: "middle", x1: width / 2, x2: width / 2, y1: 0, y2: height }),
    h("rect", { x: Math.min(width / 2, end).toFixed(1), y: 2, width: Math.abs(weight * scale).toFixed(1), height: height - 4 }),
    standard_error ? h("line", { class: "error", x1: low.toFixed(1), x2: high.toFixed(1), y1: height / 2, y2: height / 2 }) : null);
}

function inputs(each) {
  const values = Object.entries(each.inputs ?? {});
  if (!values.length) return h("p", { class: "quiet" }, "Its inputs are not told.");
  return table(`Inputs: ${name(each)}`, ["Feature", "Value"], values.map(([feature, value]) => [h("th", { scope: "row" }, feature),
    h("span", {}, shown(value), feature in (each.imputed ?? {}) ? h("span", { class: "quiet" }, ` taken as ${shown(each.imputed[feature])}`) : null)]));
}

function trust({ fit }) {
  if (!fit) return null;
  const stable = fit.stability === null || fit.stability === undefined ? "" : ` Other neighbours would name ${share(fit.stability)} of these features.`;
  return h("p", { class: "quiet" }, `Local model ${number(fit.local_prediction)}, fit (R²) ${number(fit.r2)}, ${count(fit.samples)} neighbours.${stable}`);
}

const shown = (value) => (value === null ? "missing" : cut(typeof value === "object" ? JSON.stringify(value) : String(value)));
const cut = (text) => (text.length <= VALUE_CHARACTERS ? text : `${[...text].slice(0, VALUE_CHARACTERS - 1).join("")}…`);

// --- dead letters -------------------------------------------------------------------------------------------------

/** The newest, and the one that is looked at, if any. */
export async function askLetters(query) {
  const place = query.get("letter");
  const [letters, letter] = await Promise.all([attempt("/dead-letters"), place ? attempt(`/dead-letters/${place.split("@").map(encodeURIComponent).join("/")}`) : null]);
  return { letters, letter, place };
}

export function deadLetters({ letters, letter, place }, href) {
  return h("section", { class: "double" }, h("h2", {}, "Dead letters"), letter ? looked(letter, place, href) : null, listed(letters, place, href));
}

function listed(answer, place, href) {
  if (answer instanceof Unanswered) return h("p", { class: "quiet" }, `Not shown: ${answer.message}`);
  if (!answer.there) return h("p", {}, "None: every record could be read.");
  return [
    h("p", { class: "quiet" }, `The newest of ${count(answer.there)} on `, h("code", {}, answer.topic), "; ", h("code", {}, "latelabel dead-letters list"), " has all."),
    table("Newest dead letters", ["Record", "Reason", "Message", ["Bytes", "n"], "Written"],
      answer.letters.map((each) => {
        const at = `${each.letter_partition}@${each.letter_offset}`;
        return [
          h("th", { scope: "row" }, h("a", { href: href(at), "data-key": `letter ${at}`, "aria-current": at === place ? "true" : null }, `${each.topic}/${each.partition}@${each.offset}`)),
          each.reason.replaceAll("_", " "), h("span", { class: "message" }, each.message), each.bytes === null ? "none" : count(each.bytes), each.written ? age(each.written) : "–"];
      })),
  ];
}

function looked(answer, place, href) {
  const close = h("a", { href: href(null), "data-key": "close letter" }, "Close");
  if (answer instanceof Unanswered) return h("div", { class: "looked" }, h("p", {}, answer.message, " ", close));
  const { letter } = answer;
  return h("div", { class: "looked" },
    h("h3", {}, `${letter.topic}/${letter.partition}@${letter.offset}`), h("p", {}, `${letter.reason.replaceAll("_", " ")}: ${letter.message}`),
    h("p", { class: "quiet" }, letter.time ? `Its time is ${time(letter.time)}. ` : null, "Key ", h("code", {}, answer.key), ". ",
      answer.value === null ? "It has no value." : `${count(letter.bytes)} bytes${answer.is_text ? "" : ", in hexadecimal"}${answer.left_bytes ? `, ${count(answer.left_bytes)} of them not shown` : ""}:`),
    answer.value === null ? null : h("pre", { class: "value", tabindex: "0", role: "region", "aria-label": "Value" }, answer.value),
    h("p", { class: "choices" }, h("a", { href: address(`/dead-letters/${place.replace("@", "/")}`), target: "_blank", rel: "noopener" }, "JSON"), close));
}
