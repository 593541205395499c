// Charts over event time: a canvas for the eye, a table behind it for everyone else.

import { h } from "./dom.js";
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

function axes(unit) {
  const common = {
    stroke: () => color("--ink-quiet"), grid: { stroke: () => color("--line"), width: 1 }, ticks: { show: false },
    font: "12px system-ui",
  };
  return [common, { ...common, size: 64, values: (_, ticks) => ticks.map((tick) => unit(tick)) }];
}

async function draw(element, { data, series, bands = [], height, unit = number, range, onZoom, extent }) {
  const uPlot = await load();
  sweep();
  if (!element.isConnected) return;
  const plot = new uPlot({
    width: Math.max(Math.floor(element.clientWidth), 200),
    height,
    tzDate: (seconds) => (isUtc() ? uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC") : new Date(seconds * 1000)),
    legend: { show: false },
    cursor: { sync: { key: "time" }, drag: { x: true, y: false, setScale: false }, points: { show: false } },
    scales: { x: { range: () => extent }, y: range ? { range } : {} },
    fmtDate: (template) => uPlot.fmtDate(template.replaceAll("{h}", "{HH}").replaceAll("{aa}", ":00").replace("{HH}:{mm}:00", "{HH}:{mm}").replaceAll("{M}/{D}/{YY}", "{YYYY}-{MM}-{DD}").replaceAll("{M}/{D}", "{MM}-{DD}")),
    axes: axes(unit),
    series: [{}, ...series(uPlot)],
    bands,
    hooks: {
      setSelect: [({ select, posToVal }) => {
        if (select.width > 8) onZoom?.(posToVal(select.left, "x"), posToVal(select.left + select.width, "x"));
      }],
      setCursor: [(self) => element.dispatchEvent(new CustomEvent("point", { detail: self.cursor.idx }))],
    },
  }, data, element);
  element.chart = plot;
  live.add(plot);
  observer.observe(element);
}

/** A chart with its heading, what the cursor stands on, and the table behind it. */
export function figure({ key, title, summary, describe, rows, height, ...rest }) {
  const canvas = h("div", { class: "chart", role: "img", "aria-label": summary, style: `height:${height}px` });
  const shown = h("p", { class: "reading", "aria-hidden": "true" }, summary);
  canvas.addEventListener("point", ({ detail }) => {
    shown.textContent = detail === null || detail === undefined ? summary : describe(detail);
  });
  // Drawn once it has a size.
  requestAnimationFrame(() => draw(canvas, { height, ...rest }));
  return h("figure", {}, h("figcaption", {}, title), shown, canvas,
    h("details", { "data-key": key }, h("summary", { "data-key": `${key} table` }, "Table"), rows()));
}

/** Value with its interval and what the missing labels could make of it. */
export function figureSeries(uPlot) {
  const none = { points: { show: false }, stroke: "transparent", width: 0 };
  const value = { stroke: () => color("--data"), width: 2, spanGaps: false };
  return [
    none, none, none, none,
    { ...value, points: { show: false } },
    { ...value, width: 0, paths: () => null, points: { show: true, size: 7, fill: () => color("--data"), stroke: () => color("--data") } },
    { ...value, width: 0, paths: () => null, points: { show: true, size: 8, fill: () => color("--paper"), stroke: () => color("--data"), width: 2 } },
  ];
}

export const FIGURE_BANDS = [
  { series: [2, 1], fill: () => color("--possible") },
  { series: [4, 3], fill: () => color("--interval") },
];

/** Everything, then what is not due any more, then what is labelled: each bar covers the one before. */
export function trafficSeries(uPlot) {
  const bars = (name) => ({ fill: () => color(name), stroke: () => color(name), width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.86, 60] }) });
  return [bars("--due"), bars("--never"), bars("--data")];
}

/** Plain lines, told apart by dashes as well as by colour. */
export const lineSeries = (dashes) => () => dashes.map(([name, dash]) => ({
  stroke: () => color(name), width: 2, dash, points: { show: true, size: 5, fill: () => color(name) },
}));
