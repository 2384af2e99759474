// Pictures into the form: drop, paste, click, the sample pair, swap. Errors appear beside the picture.

import { all, call, one, showError } from "./api.js";
import { changed, newStyle, numberStyles, styleCards } from "./form.js";

const stage = one("#stage");

const MOST_BYTES = Number(one("main").dataset.mostBytes);

async function upload(file, name) {
  if (file.size > MOST_BYTES) {
    const text = `${file.name} has ${Math.ceil(file.size / 2 ** 20)} MB; ${Math.floor(MOST_BYTES / 2 ** 20)} MB are allowed. Give a smaller picture.`;
    throw new Error(text);
  }
  return call(`/pictures?name=${encodeURIComponent(name || file.name || "the pasted picture")}`, { body: file });
}

export function uploadMask(blob, name) {
  return upload(blob, name);
}

// Uploads that have not ended; a run waits for them.
const pending = new Set();
export async function uploadsDone() {
  while (pending.size) await Promise.allSettled([...pending]);
}

function tracked(work) {
  return (...given) => {
    const uploading = work(...given);
    pending.add(uploading);
    return uploading.finally(() => pending.delete(uploading));
  };
}

async function into(card, load) {
  const row = one(".card-row", card);
  showError(one("[data-error]", card), null);
  row.classList.add("busy");
  row.setAttribute("aria-busy", "true");
  try {
    const picture = await load();
    show(card, picture);
    return true;
  } catch (error) {
    showError(one("[data-error]", card), error);
    return false;
  } finally {
    row.classList.remove("busy");
    row.removeAttribute("aria-busy");
  }
}

function show(card, picture) {
  card.dataset.sha256 = picture.sha256;
  one("[data-name]", card).textContent = picture.name;
  one("[data-size]", card).textContent = `${picture.width} × ${picture.height}`;
  const image = one("[data-thumb]", card);
  image.src = `/pictures/${picture.sha256}/thumbnail.jpg`;
  image.hidden = false;
  const placeholder = one("[data-placeholder]", card);
  if (placeholder) placeholder.hidden = true;
  const notes = one("[data-notes]", card);
  notes.textContent = picture.notes.join("; ");
  notes.hidden = !picture.notes.length;
  if (card.matches("[data-content]")) showContent(picture);
  changed();
}

function showContent(picture) {
  const frame = one("[data-photo] [data-frame]");
  frame.dataset.width = picture.width;
  frame.dataset.height = picture.height;
  one("[data-content-image]").src = `/pictures/${picture.sha256}/shown.jpg`;
  one("[data-empty]").hidden = true;
  one("[data-photo]").hidden = false;
  document.dispatchEvent(new CustomEvent("content", { detail: picture }));
}

const contentCard = () => one("[data-content]");

async function addStyles(loads) {
  const list = one("[data-styles]");
  showError(one("[data-styles-error]"), null);
  for (const load of loads) {
    if (styleCards().length >= Number(list.dataset.most)) {
      showError(one("[data-styles-error]"), { message: `A run takes at most ${list.dataset.most} styles. Remove one first.` });
      return;
    }
    const card = newStyle();
    list.append(card);
    numberStyles();
    if (!(await into(card, load)) && !card.dataset.sha256) {
      const text = one("[data-error]", card).textContent;
      card.remove();
      numberStyles();
      showError(one("[data-styles-error]"), { message: text });
    }
  }
}

const take = tracked(async (files, kind, card) => {
  const pictures = [...files];
  if (!pictures.length) return;
  if (kind === "styles") await addStyles(pictures.map((file) => () => upload(file)));
  else if (kind === "style") await into(card, () => upload(pictures[0]));
  else {
    if (await into(contentCard(), () => upload(pictures[0]))) document.dispatchEvent(new Event("compose"));
    if (pictures.length > 1) await addStyles(pictures.slice(1).map((file) => () => upload(file)));
  }
});

const slotOf = (node) => node.closest?.("[data-slot]");
const kindOf = (slot) => slot?.dataset.slot || "content";

// Click
document.addEventListener("click", (event) => {
  const pick = event.target.closest("[data-pick]");
  if (pick) {
    const slot = slotOf(pick);
    (one("[data-file]", slot) || one("[data-file]", contentCard())).click();
  }
  if (event.target.closest("[data-sample]")) sample();
  if (event.target.closest("[data-swap]")) swap();
  const remove = event.target.closest("[data-remove]");
  if (remove) {
    remove.closest("[data-style]").remove();
    numberStyles();
    changed();
    one("[data-add-slot] [data-pick]").focus();
  }
});
document.addEventListener("change", (event) => {
  const input = event.target;
  if (!input.matches("[data-file]")) return;
  const slot = slotOf(input);
  take(input.files, kindOf(slot), slot.closest("[data-style]"));
  input.value = "";
});

const sample = tracked(async () => {
  const done = await into(contentCard(), () => call("/samples/0"));
  if (done && !styleCards().length) await addStyles([() => call("/samples/1")]);
  document.dispatchEvent(new Event("compose"));
});

function swap() {
  const content = contentCard();
  const style = styleCards()[0];
  const facts = [content, style].map((card) => card?.dataset.sha256);
  if (!facts[0] || !facts[1]) {
    showError(one("[data-error]", content), { message: "Add a photo and a painting first; then they can be swapped." });
    return;
  }
  const pictures = [content, style].map(describe);
  show(content, pictures[1]);
  show(style, pictures[0]);
  document.dispatchEvent(new Event("compose"));
}

function describe(card) {
  const [width, height] = one("[data-size]", card).textContent.split(" × ").map(Number);
  const notes = one("[data-notes]", card).textContent;
  return { sha256: card.dataset.sha256, name: one("[data-name]", card).textContent, width, height, notes: notes ? [notes] : [] };
}

// Drop: on a slot, else as the photo
let over = null;
const hasFiles = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
function highlight(slot) {
  if (over === slot) return;
  over?.classList.remove("over");
  over = slot;
  const onStage = !slot || stage.contains(slot);
  one("[data-drop-hint]").hidden = !onStage;
  if (!onStage) slot.classList.add("over");
}
function dropEnded() {
  over?.classList.remove("over");
  over = null;
  one("[data-drop-hint]").hidden = true;
}
document.addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  highlight(slotOf(event.target) || stage);
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) dropEnded();
});
document.addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  dropEnded();
  const slot = slotOf(event.target);
  take(event.dataTransfer.files, kindOf(slot), slot?.closest("[data-style]"));
});

// Paste: the photo first, then styles; or the slot with the focus
document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files || [])];
  if (!files.length) return;
  event.preventDefault();
  const slot = slotOf(document.activeElement);
  const kind = slot && !stage.contains(slot) ? kindOf(slot) : contentCard().dataset.sha256 ? "styles" : "content";
  take(files, kind, slot?.closest("[data-style]"));
});

all("[data-slot]").forEach((slot) => slot.addEventListener("dragleave", () => slot.classList.remove("over")));
