// Areas of the styles, painted with a brush, by mouse, touch or keyboard, in the colours of the styles.

import { all, one } from "./api.js";
import { styleCards } from "./form.js";
import * as layers from "./mask_layers.js";
import { uploadMask } from "./upload.js";

const LONGEST_PX = 1024;
const canvas = one("[data-mask]");
const tools = one("[data-mask-tools]");
const toggle = one("[data-mask-toggle]");
const sizeInput = one("[data-mask-size]");
let chosen = null;
let erasing = false;
let last = null;
let cursor = null;

const isOn = () => toggle.getAttribute("aria-pressed") === "true";
const radius = () => (Number(sizeInput.value) / 200) * Math.max(canvas.width, canvas.height);
const tone = (card) => getComputedStyle(card).getPropertyValue("--tone").trim();

function draw() {
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, canvas.width, canvas.height);
  for (const card of styleCards()) layers.drawTinted(pen, card, tone(card));
  if (cursor && chosen) {
    for (const [colour, width] of [["#fff", 5], [erasing ? "#000" : tone(chosen), 2.5]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = (width * canvas.width) / (canvas.clientWidth || canvas.width);
      pen.beginPath();
      pen.arc(cursor.x, cursor.y, radius(), 0, 7);
      pen.stroke();
    }
  }
}

function stroke(from, to) {
  layers.apply(styleCards(), erasing ? null : chosen, (pen) => {
    pen.lineCap = "round";
    pen.lineWidth = 2 * radius();
    pen.beginPath();
    pen.moveTo(from.x, from.y);
    pen.lineTo(to.x + 0.01, to.y);
    pen.stroke();
  });
  marks();
  draw();
}

function point(event) {
  const box = canvas.getBoundingClientRect();
  return {
    x: ((event.clientX - box.left) / box.width) * canvas.width,
    y: ((event.clientY - box.top) / box.height) * canvas.height,
  };
}

canvas.addEventListener("pointerdown", (event) => {
  if (!chosen) return;
  canvas.setPointerCapture(event.pointerId);
  last = cursor = point(event);
  stroke(last, last);
});
canvas.addEventListener("pointermove", (event) => {
  cursor = point(event);
  if (last) {
    stroke(last, cursor);
    last = cursor;
  } else draw();
});
for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, () => (last = null));
canvas.addEventListener("pointerleave", () => {
  if (!last) cursor = null;
  draw();
});

// By keyboard: arrows move the brush, Space paints, [ and ] change its size, digits choose a style, E erases.
canvas.addEventListener("focus", () => {
  cursor ||= { x: canvas.width / 2, y: canvas.height / 2 };
  draw();
});
canvas.addEventListener("keydown", (event) => {
  const step = Math.max(2, radius() / 2);
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  if (event.key in moves) {
    const from = cursor;
    const [x, y] = moves[event.key];
    cursor = {
      x: Math.min(canvas.width, Math.max(0, from.x + x * step)),
      y: Math.min(canvas.height, Math.max(0, from.y + y * step)),
    };
    if (event.shiftKey) stroke(from, cursor);
    else draw();
  } else if (event.key === " ") stroke(cursor, cursor);
  else if (event.key === "[" || event.key === "]") {
    sizeInput.value = Number(sizeInput.value) + (event.key === "]" ? 3 : -3);
    draw();
  } else if (/^[1-8]$/.test(event.key) && styleCards()[event.key - 1]) choose(styleCards()[event.key - 1]);
  else if (event.key === "e") erase(!erasing);
  else return;
  event.preventDefault();
});

function choose(card) {
  chosen = card;
  erase(false);
  all("button", one("[data-mask-chips]")).forEach((chip, index) => {
    chip.setAttribute("aria-checked", String(styleCards()[index] === card));
    chip.tabIndex = styleCards()[index] === card ? 0 : -1;
  });
}

function erase(on) {
  erasing = on;
  one("[data-mask-erase]").setAttribute("aria-pressed", String(on));
  draw();
}

function chips() {
  const place = one("[data-mask-chips]");
  place.replaceChildren(
    ...styleCards().map((card, index) => {
      const chip = document.createElement("button");
      chip.type = "button";
      chip.className = `tone-${(index % 8) + 1}`;
      chip.setAttribute("role", "radio");
      chip.setAttribute("aria-label", `Style ${index + 1}`);
      chip.title = `Style ${index + 1}: ${one("[data-name]", card).textContent}`;
      chip.addEventListener("click", () => choose(card));
      return chip;
    }),
  );
  layers.forgetRemoved();
  const cards = styleCards();
  choose(cards.includes(chosen) ? chosen : cards[0] || null);
  toggle.disabled = !cards.length;
  toggle.title = cards.length ? "" : "Add a style first";
  marks();
}

one("[data-mask-chips]").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const cards = styleCards();
  choose(cards[(cards.indexOf(chosen) + step + cards.length) % cards.length]);
  one('[aria-checked="true"]', event.currentTarget)?.focus();
});

function marks() {
  const on = layers.hasMasks();
  for (const card of styleCards()) card.classList.toggle("masked", on || isOn());
}

toggle.addEventListener("click", () => {
  const on = !isOn();
  toggle.setAttribute("aria-pressed", String(on));
  tools.hidden = !on;
  one("[data-mask-hint]").hidden = !on;
  canvas.hidden = !on && !layers.hasMasks();
  canvas.tabIndex = on ? 0 : -1;
  marks();
  if (on) chips();
});
one("[data-mask-erase]").addEventListener("click", () => erase(!erasing));
one("[data-mask-fill]").addEventListener("click", () => {
  if (!chosen) return;
  layers.fillRest(chosen);
  marks();
  draw();
});
one("[data-mask-clear]").addEventListener("click", () => {
  layers.clear();
  marks();
  draw();
});
sizeInput.addEventListener("input", draw);

// Digests of the masks, which are uploaded; none where no area is painted. Masks that are used again stay the same files.
export async function regions() {
  const cards = styleCards();
  const known = cards.map((card) => card.dataset.region);
  if (cards.length && known.every(Boolean) && !layers.isEdited()) return known;
  if (!layers.hasMasks()) return [];
  const blank = cards.findIndex(layers.isBlank);
  if (blank >= 0) {
    throw Object.assign(new Error(`Style ${blank + 1} has no area. Paint one for it, remove it, or clear all areas.`), { field: "styles" });
  }
  const found = [];
  for (const [index, card] of cards.entries()) {
    found.push((await uploadMask(await layers.fileOf(card), `area of style ${index + 1}`)).sha256);
  }
  return found;
}

// Masks of a run whose settings are used again.
function restore() {
  for (const card of styleCards()) {
    if (!card.dataset.region) continue;
    layers.load(card, `/pictures/${card.dataset.region}/shown.jpg`).then(() => {
      canvas.hidden = false;
      marks();
      draw();
    });
  }
}

function resize() {
  const frame = one("[data-photo] [data-frame]");
  const [width, height] = [Number(frame.dataset.width || 3), Number(frame.dataset.height || 2)];
  const scale = Math.min(1, LONGEST_PX / Math.max(width, height));
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  layers.begin(canvas.width, canvas.height);
}

document.addEventListener("styles", chips);
document.addEventListener("content", () => {
  for (const card of styleCards()) delete card.dataset.region;
  resize();
  draw();
});
resize();
chips();
restore();
