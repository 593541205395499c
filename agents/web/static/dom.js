// Elements made of text, never of markup: whatever a name holds, it is shown and not run.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "path", "line", "rect", "circle", "title", "g", "text"]);

/** An element with properties (`on…` listeners, else attributes) and children (nodes, texts, lists; null is nothing). */
export function h(tag, properties = {}, ...children) {
  const element = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

/** A name that may be broken after its underscores. */
export const broken = (name) => name.split("_").flatMap((part, at) => (at ? ["_", h("wbr"), part] : [part]));

/** Show other children in `root`; what has the focus keeps it, and what was opened stays open, by `data-key`. */
export function replace(root, ...children) {
  const focused = root.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  const open = new Set([...root.querySelectorAll("details[open]")].map((details) => details.dataset.key));
  root.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  for (const details of root.querySelectorAll("details")) {
    if (!open.has(details.dataset.key)) continue;
    details.fill?.();
    details.open = true;
  }
  if (focused !== undefined) root.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

/** What can be opened; its content is made when it is. */
export function details(key, title, content) {
  const element = h("details", { "data-key": key }, h("summary", { "data-key": `${key} summary` }, title));
  element.fill = () => {
    if (element.children.length === 1) element.append(...[content()].flat(Infinity).filter((child) => child !== null));
  };
  element.firstChild.addEventListener("click", element.fill);
  return element;
}

/** A table: heads are texts or [text, class]; rows are lists of cells. */
export function table(caption, heads, rows, properties = {}) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", properties,
      h("caption", {}, caption),
      h("thead", {}, h("tr", {}, heads.map((head) => {
        const [text, kind] = [head].flat();
        return h("th", { scope: "col", class: kind }, text);
      }))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, at) =>
        cell instanceof HTMLTableCellElement ? cell : h("td", { class: [heads[at]].flat()[1] }, cell)))))));
}
