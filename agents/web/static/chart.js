// Charts over event time: a canvas for the eye, a table behind it for everyone else.

import { details, h } from "./dom.js";
import { download } from "./download.js";
import { isUtc, number } from "./format.js";

let library = null;

/** Load what draws, once. */
function load() {
  library ??= new Promise((resolve, reject) => {
    const script = h("script", { src: "/vendor/uPlot.iife.min.js" });
    script.addEventListener("load", () => resolve(window.uPlot));
    script.addEventListener("error", () => reject(new Error("the charts cannot be loaded")));
    document.head.append(script);
  });
  return library;
}

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const live = new Set();
const observer = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const width = Math.floor(target.clientWidth);
    if (target.chart && width > 50 && width !== target.chart.width) target.chart.setSize({ width, height: target.chart.height });
  }
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const plot of live) plot.redraw(false);
});

// On paper charts are narrower, and light whatever the screen is.
const PAPER_WIDTH = 680;
addEventListener("beforeprint", () => {
  document.documentElement.classList.add("printing");
  for (const plot of live) plot.setSize({ width: Math.min(plot.width, PAPER_WIDTH), height: plot.height });
});
addEventListener("afterprint", () => {
  document.documentElement.classList.remove("printing");
  for (const plot of live) plot.setSize({ width: Math.floor(plot.root.parentElement.clientWidth), height: plot.height });
});

/** Forget charts that are not on the page any more. */
function sweep() {
  for (const plot of live) {
    if (!plot.root.isConnected) {
      observer.unobserve(plot.root.parentElement ?? plot.root);
      plot.destroy();
      live.delete(plot);
    }
  }
}

function axes(unit, steps, ticks) {
  const common = {
    stroke: () => color("--ink-quiet"), grid: { stroke: () => color("--line"), width: 1 }, ticks: { show: false },
    font: "12px system-ui",
  };
  return [common, { ...common, ...(steps ? { incrs: steps } : {}), ...(ticks ? { splits: () => ticks, filter: (_, all) => all } : {}), size: 64,
    values: (_, all) => all.map((tick) => unit(tick)) }];
}

/** The columns with a row of nothing wherever windows are missing, so that no line leads over them, and where each row was. */
function parted(data, step) {
  const [columns, places] = [data.map(() => []), []];
  data[0].forEach((x, at) => {
    const before = data[0][at - 1];
    if (at && x - before > 1.5 * step) {
      columns.forEach((column, of) => column.push(of ? null : (before + x) / 2));
      places.push(null);
    }
    columns.forEach((column, of) => column.push(data[of][at]));
    places.push(at);
  });
  return [columns, places];
}

async function draw(element, { data, step = Infinity, series, bands = [], height, unit = number, steps, ticks, range, onZoom, extent }) {
  const uPlot = await load();
  sweep();
  if (!element.isConnected) return;
  const [columns, places] = parted(data, step);
  const plot = new uPlot({
    width: Math.max(Math.floor(element.clientWidth), 200),
    height,
    tzDate: (seconds) => (isUtc() ? uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC") : new Date(seconds * 1000)),
    legend: { show: false },
    cursor: { sync: { key: "time" }, drag: { x: true, y: false, setScale: false }, points: { show: false } },
    scales: { x: { range: () => extent }, y: range ? { range } : {} },
    fmtDate: (template) => uPlot.fmtDate(template.replaceAll("{h}", "{HH}").replaceAll("{aa}", ":00").replace("{HH}:{mm}:00", "{HH}:{mm}").replaceAll("{M}/{D}/{YY}", "{YYYY}-{MM}-{DD}").replaceAll("{M}/{D}", "{MM}-{DD}")),
    axes: axes(unit, steps, ticks),
    series: [{}, ...series(uPlot)],
    bands,
    hooks: {
      setSelect: [({ select, posToVal }) => {
        if (select.width > 8) onZoom?.(posToVal(select.left, "x"), posToVal(select.left + select.width, "x"));
      }],
      setCursor: [(self) => element.dispatchEvent(new CustomEvent("point", { detail: places[self.cursor.idx] ?? null }))],
    },
  }, columns, element);
  element.chart = plot;
  live.add(plot);
  observer.observe(element);
}

/** A chart with its heading, what the cursor stands on, and the table behind it, which can be taken along as CSV. */
export function figure({ key, title, legend: named = [], summary, describe, rows, csv, json, height, ...rest }) {
  const canvas = h("div", { class: "chart", role: "img", "aria-label": summary, style: `height:${height}px` });
  const shown = h("p", { class: "reading", "aria-hidden": "true" }, summary);
  canvas.addEventListener("point", ({ detail }) => {
    shown.textContent = detail === null || detail === undefined ? summary : describe(detail);
  });
  // Drawn once it has a size.
  requestAnimationFrame(() => draw(canvas, { height, ...rest }));
  return h("figure", {}, h("figcaption", {}, h("span", {}, title), named.map(legend)), shown, canvas,
    details(key, "Table", () => [
      h("p", { class: "choices" },
        json ? h("a", { href: json, target: "_blank", rel: "noopener", "data-key": `${key} json` }, "JSON") : null,
        h("button", { type: "button", "data-key": `${key} csv`, onclick: () => download(`${key}.csv`, csv()) }, "CSV")),
      rows(),
    ]));
}

/** What a line, a band or a bar of a chart stands for: [name, colour, dash], the dash of a line alone. */
function legend([name, tint, dash]) {
  const stroke = { stroke: `var(${tint})`, "stroke-width": 2.5, "stroke-dasharray": dash?.join(" ") || null };
  return h("span", { class: "legend" },
    h("svg", { viewBox: "0 0 24 12", width: 24, height: 12, "aria-hidden": "true" }, dash
      ? h("line", { x1: 0, x2: 24, y1: 6, y2: 6, ...stroke })
      : h("rect", { width: 24, height: 12, fill: `var(${tint})` })),
    ` ${name}`);
}

// Where points would run into each other, those that are final leave the line alone.
const hasRoom = (plot) => plot.bbox.width / devicePixelRatio > plot.data[0].length * 9;

/** Those that have no neighbour to lead a line to, where not all are shown as points. */
const lonely = ({ data }, series, areShown) => (areShown ? null : data[series].flatMap((value, at, all) =>
  ((value ?? null) !== null && (all[at - 1] ?? null) === null && (all[at + 1] ?? null) === null ? [at] : [])));

/** Value with its interval and what the missing labels could make of it. */
export function figureSeries() {
  const none = { points: { show: false }, stroke: "transparent", width: 0 };
  const value = { stroke: () => color("--data"), width: 2, spanGaps: false };
  return [
    none, none, none, none,
    { ...value, points: { show: false, filter: lonely, size: 5, fill: () => color("--data") } },
    { ...value, width: 0, paths: () => null, points: { show: hasRoom, size: 7, fill: () => color("--data"), stroke: () => color("--data") } },
    { ...value, width: 0, paths: () => null, points: { show: true, size: 7, fill: () => color("--paper"), stroke: () => color("--data"), width: 2 } },
    { stroke: () => color("--ink-quiet"), width: 1.5, dash: REFERENCE_DASH, points: { show: false }, spanGaps: true },
  ];
}

/** How values are distributed: two bands, the median, the medians that have moved marked, and a reference. */
export function distributionSeries() {
  const none = { points: { show: false }, stroke: "transparent", width: 0 };
  const [, , , , median, ...rest] = figureSeries();
  const marked = { stroke: "transparent", paths: () => null, points: { show: true, size: 9, width: 2, fill: () => color("--warning"), stroke: () => color("--paper") } };
  return [none, none, none, none,
    { ...median, points: { show: hasRoom, filter: lonely, size: 5, fill: () => color("--data"), stroke: () => color("--data") } }, marked, rest.at(-1)];
}

export const REFERENCE_DASH = [3, 4];

export const FIGURE_BANDS = [
  { series: [2, 1], fill: () => color("--possible") },
  { series: [4, 3], fill: () => color("--interval") },
];

/** Counts as bars from one ground, each in front of the one before. */
export const barSeries = (names) => (uPlot) => names.map((name) => (
  { fill: () => color(name), stroke: () => color(name), width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.86, 60] }) }));

/** Everything, then what is not due any more, then what is labelled: each bar covers the one before. */
export const trafficSeries = barSeries(["--due", "--never", "--data"]);

/** Plain lines, told apart by dashes as well as by colour. */
export const lineSeries = (dashes) => () => dashes.map(([name, dash]) => ({
  stroke: () => color(name), width: 2, dash, points: { filter: lonely, size: 5, fill: () => color(name) },
}));
