// How numbers, times and states are written; the same on every view.

export const STATES = {
  firing: { word: "Firing", sign: "▲" },
  warning: { word: "Warning", sign: "◆" },
  no_data: { word: "No data", sign: "○" },
  labels_pending: { word: "Labels pending", sign: "◔" },
  ok: { word: "OK", sign: "●" },
};

export const STATUSES = {
  open: "open", provisional: "labels due", final: "final", incomplete: "input lost",
};

const REASONS = {
  no_labelled: "no label yet", no_positive_labels: "no positive label", no_negative_labels: "no negative label",
  no_positive_predictions: "no positive prediction", single_class: "one class only", no_scores: "no scores sent",
  no_positive_class: "no positive_class set", class_overflow: "beyond limits.classes", negative_values: "negative values",
  zero_labels: "a label is zero", constant_labels: "labels all equal", bad_probabilities: "unusable probabilities",
};

/** Why there is no value; `n` scores that came are of no use to a figure of binary models. */
export const reason = (code, n = 0) => n && ["no_scores", "no_positive_class"].includes(code) ? "binary models only"
  : REASONS[code] ?? (code ?? "no reason given").replaceAll("_", " ");

/** Three decimals, or the order of size of what is very small or large. */
export function number(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size > 0 && size < 0.0005) return value.toExponential(1);
  if (size < 100) return value.toFixed(3);
  return size < 1e7 ? Math.round(value).toLocaleString("en") : value.toPrecision(4);
}

export const count = (value) => value.toLocaleString("en");

/** A ratio in per cent; 100 % only of what is whole, 0 % only of nothing. */
export function share(ratio) {
  if (ratio === null || ratio === undefined) return "–";
  if (ratio === 0 || ratio === 1) return `${ratio * 100}%`;
  return `${(Math.min(Math.max(ratio, 0.001), 0.999) * 100).toFixed(1)}%`;
}

export const interval = (metric) =>
  metric.low === null || metric.low === undefined ? "" : `[${number(metric.low)}, ${number(metric.high)}]`;

let utc = localStorage.getItem("zone") === "utc";
export const isUtc = () => utc;
export function setUtc(value) {
  utc = value;
  localStorage.setItem("zone", utc ? "utc" : "local");
}

/** A moment in the reader's zone, or in UTC; days alone for windows of whole days, which are days of UTC. */
export function time(text, sizeSeconds = 0) {
  const whole = sizeSeconds > 0 && sizeSeconds % 86400 === 0;
  const zone = utc || whole ? "UTC" : undefined;
  const day = { year: "numeric", month: "2-digit", day: "2-digit" };
  const clock = { ...day, hour: "2-digit", minute: "2-digit", second: sizeSeconds % 60 || !sizeSeconds ? "2-digit" : undefined };
  return new Intl.DateTimeFormat("sv", { ...(whole ? day : clock), hour12: false, timeZone: zone }).format(new Date(text));
}

/** A length of time by its largest unit that is whole. */
export function duration(seconds) {
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["m", 60]]) {
    if (seconds >= size && seconds % size === 0) return `${seconds / size}${unit}`;
  }
  return `${seconds}s`;
}

/** About how long, for delays and ages. */
export function roughly(seconds) {
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= size) return `${(seconds / size).toFixed(seconds / size < 10 ? 1 : 0)} ${unit}`;
  }
  return `${Math.round(seconds)} s`;
}

export const age = (text) => {
  const seconds = (Date.now() - Date.parse(text)) / 1000;
  return seconds < 1 ? "just now" : `${roughly(seconds)} ago`;
};

/** A size of memory by its largest unit; with a sign for a growth. */
export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const [unit, size] = [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 1024]].find(([, size]) => Math.abs(value) >= size) ?? ["B", 1];
  const amount = value / size;
  return `${amount.toFixed(Math.abs(amount) < 10 && unit !== "B" ? 1 : 0)} ${unit}`;
}

/** A number that says its direction. */
export const signed = (value, written = number) => `${value > 0 ? "+" : value < 0 ? "−" : "±"}${written(Math.abs(value))}`;

/** The zone that times are in. */
export const zoneName = () => (utc ? "UTC" : Intl.DateTimeFormat().resolvedOptions().timeZone);

export const segmentName = (segment) =>
  Object.entries(segment).map(([name, value]) => `${name} ${value}`).join(", ") || "all predictions";
