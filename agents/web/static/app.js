// Which view is shown, and when it is asked for again.
//
//   the address says everything: /?model=fraud&version=3&metric=recall, so that it can be shared and gone back to
//   `changed` from the worker, or the clock while there is no stream ──> ask again ──> show what is news

import { Unanswered } from "./api.js";
import { h, replace } from "./dom.js";
import { isUtc, setUtc, time, zoneName } from "./format.js";
import { showFleet } from "./fleet.js";
import { showModel } from "./model.js";
import { showWindow } from "./window.js";
import { showAlerts } from "./alerts.js";
import { showSystem } from "./system.js";

const SILENT_MS = 12_000; // two heartbeats, and a little
const POLL_MS = 5_000;
const REOPEN_MS = 15_000;
const QUICK = new Set(["window", "system"]); // cheap to ask for at every heartbeat
const SLOW_BEATS = 6;

const root = document.getElementById("view");
const connection = document.getElementById("connection");
const trouble = document.getElementById("trouble");
const zone = document.getElementById("zone");

let generation = 0;
let isBusy = false;
let isWanted = false;
let lostSince = null;

function chosen() {
  const query = new URLSearchParams(location.search);
  if (query.has("model")) return query.has("window") ? ["window", showWindow, query] : ["model", showModel, query];
  const view = query.get("view");
  if (view === "alerts") return ["alerts", showAlerts, query];
  if (view === "system") return ["system", showSystem, query];
  return ["fleet", showFleet, query];
}

/** Ask for the current view; `afresh` after the address has changed, else only what is news is drawn. */
async function show(afresh = false) {
  if (afresh) generation += 1;
  else if (isBusy) {
    isWanted = true;
    return;
  }
  const mine = generation;
  isBusy = true;
  const [name, view, query] = chosen();
  try {
    const title = await view({ root, query, go, isCurrent: () => mine === generation, afresh });
    if (mine !== generation) return;
    document.title = title ? `${title} – Latelabel` : "Latelabel";
    for (const link of document.querySelectorAll("nav a")) {
      if (link.dataset.view === name) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    found();
  } catch (error) {
    if (mine !== generation) return;
    if (!(error instanceof Unanswered)) throw error;
    if (error.status === 0 || error.status >= 429) lost(error.message);
    else {
      found();
      replace(root, h("h1", {}, error.status === 404 ? "Not found" : "This cannot be shown"), h("p", {}, error.message),
        h("p", {}, h("a", { href: "/" }, "All models")));
    }
  } finally {
    isBusy = false;
    if (isWanted && mine === generation) {
      isWanted = false;
      show();
    }
  }
}

function lost(message) {
  lostSince ??= new Date();
  trouble.hidden = false;
  trouble.textContent = `${message} What is shown is as of ${lostSince.toLocaleTimeString()}.`;
  document.body.classList.add("stale");
}

function found() {
  lostSince = null;
  trouble.hidden = true;
  document.body.classList.remove("stale");
}

/** Go to an address of this page without loading it anew. */
function go(address, { instead = false } = {}) {
  keepPlace();
  history[instead ? "replaceState" : "pushState"](null, "", address);
  show(true);
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
  const url = new URL(link.href);
  if (url.origin !== location.origin || url.pathname !== "/" || link.hasAttribute("download") || link.target) return;
  if (url.hash) return;
  event.preventDefault();
  go(url.pathname + url.search);
  root.focus({ preventScroll: true });
  scrollTo(0, 0);
});

// --- going back: to the place on the page as well, which is there only once it is drawn ------------------------------

history.scrollRestoration = "manual";
const keepPlace = () => history.replaceState({ top: scrollY }, "");
const findPlace = (state) => show(true).then(() => scrollTo(0, state?.top ?? 0));
addEventListener("popstate", ({ state }) => findPlace(state));
addEventListener("scrollend", keepPlace);
addEventListener("beforeprint", () => {
  document.getElementById("printed").textContent = `${location.href}, printed ${time(Date.now())}. Times are in ${zoneName()}.`;
});

function drawZone() {
  zone.setAttribute("aria-pressed", String(isUtc()));
  document.getElementById("zone-name").textContent = `Times in ${zoneName()}`;
}
zone.addEventListener("click", () => {
  setUtc(!isUtc());
  drawZone();
  show(true);
});

// --- news ---------------------------------------------------------------------------------------------------------

let stream = null;
let heardAt = 0;
let quiet = 0;

function listen() {
  stream?.close();
  stream = new EventSource("/api/v1/events");
  const hear = () => {
    heardAt = Date.now();
    if (connection.textContent !== "live") connection.textContent = "live";
    connection.dataset.state = "live";
  };
  stream.addEventListener("open", hear);
  // Also when no report has changed: what has fallen silent, lags and explanations are told by the clock alone.
  stream.addEventListener("alive", () => {
    hear();
    quiet += 1;
    if (lostSince || quiet % (QUICK.has(chosen()[0]) ? 1 : SLOW_BEATS) === 0) show();
  });
  stream.addEventListener("changed", () => {
    hear();
    show();
  });
  stream.addEventListener("error", silent);
}

function silent() {
  if (connection.dataset.state === "silent") return;
  connection.textContent = "not live";
  connection.dataset.state = "silent";
  show();
}

setInterval(() => {
  if (Date.now() - heardAt > SILENT_MS) silent();
  if (connection.dataset.state === "silent") show();
}, POLL_MS);
setInterval(() => {
  if (stream.readyState === EventSource.CLOSED || Date.now() - heardAt > SILENT_MS) listen();
}, REOPEN_MS);

drawZone();
listen();
findPlace(history.state);
