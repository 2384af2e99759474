// The stage of a run or a contact sheet: live progress, stop, resume, losses; and the history.

import { all, call, copyLink, one, showError, toast } from "./api.js";
import { layOut } from "./compare.js";
import { on } from "./events.js";
import { fill } from "./form.js";

const SPOKEN_EVERY_MS = 10_000;
const stage = one("#stage");
const place = one("[data-run-view]");
const live = one("[data-live]");
let spoken = 0;

const current = () => one("[data-run-id]", place.querySelector(".run") ? place : document.createElement("i"));
const sheet = () => one("[data-sheet-id]", place);

function say(text, now = false) {
  if (!now && Date.now() - spoken < SPOKEN_EVERY_MS) return;
  spoken = Date.now();
  live.textContent = text;
}

export function showView(name) {
  stage.dataset.view = name;
  for (const tab of all("[data-show]", stage)) tab.setAttribute("aria-pressed", String(tab.dataset.show === name));
}

export async function open(url, { push = true } = {}) {
  const html = await call(`${url}/stage`, { method: "GET" });
  place.innerHTML = html;
  layOut(place);
  one('[data-show="run"]', stage).disabled = false;
  showView("run");
  if (push && location.pathname !== url) history.pushState({}, "", url);
  document.title = "Studio";
  mark();
  catchUp();
}

// Events that came while the stage was loaded.
const latest = new Map();
function catchUp() {
  const article = one("[data-event]", place);
  for (const data of latest.values()) if (article && data.number > Number(article.dataset.event)) apply(data);
}

function mark() {
  for (const link of all("[data-open]")) {
    const here = link.dataset.open === location.pathname || link.dataset.open === shownUrl();
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function shownUrl() {
  if (sheet()) return `/sheets/${sheet().dataset.sheetId}`;
  const run = current();
  return run ? `/runs/${run.dataset.runId}` : "";
}

let historyTimer = 0;
export function loadHistory() {
  clearTimeout(historyTimer);
  historyTimer = setTimeout(async () => {
    const list = one("[data-history]");
    const scroll = one(".strip", list)?.scrollLeft || 0;
    const focused = document.activeElement?.dataset?.open;
    list.innerHTML = await call("/history", { method: "GET" });
    const strip = one(".strip", list);
    if (strip) strip.scrollLeft = scroll;
    if (focused) one(`[data-open="${CSS.escape(focused)}"]`, list)?.focus();
    mark();
  }, 60);
}

// Live pictures: each is loaded before it replaces the one before.
async function showPreview(image, data) {
  if (!image || data.picture <= Number(image.dataset.number)) return;
  image.dataset.number = data.picture;
  const next = new Image();
  next.src = `/runs/${data.id}/preview.jpg?${data.picture}`;
  try {
    await next.decode();
  } catch {
    return; // a newer one has come
  }
  if (Number(image.dataset.number) !== data.picture) return;
  image.src = next.src;
  image.hidden = false;
  const frame = image.closest("[data-frame]");
  if (frame) {
    frame.dataset.width = data.width;
    frame.dataset.height = data.height;
    layOut(frame.parentElement);
  } else layOut(place);
  image.dispatchEvent(new CustomEvent("preview", { bubbles: true, detail: data }));
}

async function updateRun(article, data) {
  if (article.dataset.state !== data.state && !(article.dataset.state === "queued" && data.state === "running")) {
    const focused = article.contains(document.activeElement);
    say({ done: "The painting is finished.", stopped: "Stopped; the picture is kept.", failed: "The painting failed." }[data.state] || data.text, true);
    await open(shownUrl(), { push: false });
    if (focused) one("[data-viewport]", place)?.focus({ preventScroll: true });
    if (data.state === "done") document.title = "✓ Studio";
    return;
  }
  if (!one("[data-progress]", article)) return; // it has ended
  article.dataset.state = data.state;
  one("[data-progress]", article).value = data.fraction;
  one("[data-progress-text]", article).textContent = data.text;
  document.title = data.state === "running" ? `${Math.round(data.fraction * 100)} % · Studio` : "Studio";
  say(data.text);
  showPreview(one("[data-preview]", article), data);
  if (one("[data-losses]", article).open) loadLosses(article);
}

function updateLook(article, data) {
  const look = one(`[data-run-id="${data.id}"]`, article);
  if (!look) return;
  const wasActive = ["queued", "running"].includes(look.dataset.state);
  const isActive = ["queued", "running"].includes(data.state);
  look.dataset.state = data.state;
  const bar = one("[data-look-progress]", look);
  bar.value = data.fraction;
  bar.hidden = !isActive;
  if (data.picture) look.disabled = false;
  showPreview(one("[data-look-image]", look), data);
  if (wasActive && !isActive && !all("[data-look]", article).some((each) => ["queued", "running"].includes(each.dataset.state))) {
    say("All looks are painted. Choose one.", true);
    const chosen = one('[data-look][aria-pressed="true"]', article)?.dataset.runId;
    open(shownUrl(), { push: false }).then(() => chosen && choose(one(`[data-run-id="${chosen}"]`, place)));
  }
}

function apply(data) {
  const run = current();
  if (run?.dataset.runId === data.id) updateRun(run, data);
  else if (sheet()?.dataset.sheetId === data.sheet && data.sheet) updateLook(sheet(), data);
}

on("run", (data) => {
  latest.set(data.id, data);
  apply(data);
  const bar = one(`[data-run-progress="${data.id}"]`);
  if (bar && data.state === "running" && data.picture > 1) bar.value = data.fraction;
  else if (!data.sheet || ["done", "failed", "stopped"].includes(data.state)) loadHistory();
});
let wasLost = false;
on("connection", ({ connected }) => {
  document.title = "Studio";
  if (connected && wasLost) {
    const shown = stage.dataset.view; // the studio was started again: the form stays
    const url = shownUrl();
    if (url) open(url, { push: false }).then(() => showView(shown));
    loadHistory();
  }
  wasLost = !connected;
});

async function loadLosses(article) {
  one("[data-losses-chart]", article).innerHTML = await call(`/runs/${article.dataset.runId}/losses`, { method: "GET" });
}
document.addEventListener(
  "toggle",
  (event) => {
    if (event.target.matches?.("[data-losses]") && event.target.open) loadLosses(event.target.closest("[data-run-id]"));
  },
  true,
);

export async function stop() {
  const run = current();
  try {
    if (run && one("[data-stop]", run)) await call(`/runs/${run.dataset.runId}/stop`);
    else if (sheet() && one("[data-stop-sheet]", sheet())) await call(`/sheets/${sheet().dataset.sheetId}/stop`);
    else return false;
  } catch (error) {
    toast(error.text);
  }
  return true;
}

function choose(look) {
  for (const each of all("[data-look]", sheet())) each.setAttribute("aria-pressed", String(each === look));
  fill(look.dataset.preset, JSON.parse(look.dataset.values));
  one("[data-paint-large]", sheet()).disabled = false;
}

document.addEventListener("click", async (event) => {
  const link = event.target.closest("[data-open]");
  if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0) {
    event.preventDefault();
    open(link.dataset.open).catch(() => location.assign(link.href));
    return;
  }
  const button = event.target.closest("button");
  if (!button) return;
  const run = current();
  try {
    if (button.matches("[data-stop], [data-stop-sheet]")) await stop();
    else if (button.matches("[data-resume]")) {
      await call(`/runs/${run.dataset.runId}/resume`);
      await open(shownUrl(), { push: false });
    } else if (button.matches("[data-remove-run]")) {
      if (!confirm("Remove this picture from the studio?")) return;
      await call(`/runs/${run.dataset.runId}`, { method: "DELETE" });
      location.assign("/");
    } else if (button.matches("[data-remove-sheet]")) {
      if (!confirm("Remove this contact sheet from the studio?")) return;
      await call(`/sheets/${sheet().dataset.sheetId}`, { method: "DELETE" });
      location.assign("/");
    } else if (button.matches("[data-copy-link]")) {
      await copyLink(button.dataset.copyLink, "Link copied. It opens these settings in this studio.");
    } else if (button.matches("[data-look]")) choose(button);
    else if (button.matches("[data-paint-large]")) one("#compose").requestSubmit();
    else if (button.matches("[data-show]")) showView(button.dataset.show);
  } catch (error) {
    toast(error.text || error.message);
  }
});
document.addEventListener("click", (event) => {
  for (const menu of all("[data-menu][open]")) if (!menu.contains(event.target) || event.target.closest("[data-download]")) menu.open = false;
});
document.addEventListener("compose", () => showView("photo"));
addEventListener("popstate", () => location.reload());

layOut(document);
mark();
document.addEventListener("content", () => layOut(document));
export { showError };
