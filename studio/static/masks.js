// Areas of the styles, painted with a brush: one layer for each style, in its colour. A pixel has one style at most.

import { all, one } from "./api.js";
import { styleCards } from "./form.js";
import { uploadMask } from "./upload.js";

const LONGEST_PX = 1024;
const canvas = one("[data-mask]");
const tools = one("[data-mask-tools]");
const toggle = one("[data-mask-toggle]");
const sizeInput = one("[data-mask-size]");
const layers = new Map(); // card of a style -> canvas whose opacity is the mask
let chosen = null;
let erasing = false;
let last = null;
let cursor = null;

const isOn = () => toggle.getAttribute("aria-pressed") === "true";
const radius = () => (Number(sizeInput.value) / 200) * Math.max(canvas.width, canvas.height);
const tone = (card) => getComputedStyle(card).getPropertyValue("--tone").trim();

export const hasMasks = () => [...layers].some(([card, layer]) => card.isConnected && layer.painted);

function layerOf(card) {
  if (!layers.has(card)) {
    const layer = document.createElement("canvas");
    layer.width = canvas.width;
    layer.height = canvas.height;
    layers.set(card, layer);
  }
  return layers.get(card);
}

function resize() {
  const frame = one("[data-photo] [data-frame]");
  const [width, height] = [Number(frame.dataset.width || 3), Number(frame.dataset.height || 2)];
  const scale = Math.min(1, LONGEST_PX / Math.max(width, height));
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
}

function draw() {
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, canvas.width, canvas.height);
  for (const card of styleCards()) {
    const layer = layers.get(card);
    if (!layer?.painted) continue;
    const tinted = document.createElement("canvas");
    tinted.width = canvas.width;
    tinted.height = canvas.height;
    const tint = tinted.getContext("2d");
    tint.fillStyle = tone(card);
    tint.fillRect(0, 0, canvas.width, canvas.height);
    tint.globalCompositeOperation = "destination-in";
    tint.drawImage(layer, 0, 0);
    pen.drawImage(tinted, 0, 0);
  }
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

// Adds a shape to the layer of the chosen style, and removes it from all others.
function apply(shape) {
  for (const card of styleCards()) {
    const layer = layerOf(card);
    const pen = layer.getContext("2d");
    const adds = card === chosen && !erasing;
    if (adds) layer.painted = true;
    else if (!layer.painted) continue;
    pen.globalCompositeOperation = adds ? "source-over" : "destination-out";
    pen.fillStyle = pen.strokeStyle = "#fff";
    shape(pen);
  }
  marks();
  draw();
}

function stroke(from, to) {
  apply((pen) => {
    pen.lineCap = "round";
    pen.lineWidth = 2 * radius();
    pen.beginPath();
    pen.moveTo(from.x, from.y);
    pen.lineTo(to.x + 0.01, to.y);
    pen.stroke();
  });
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
  for (const card of [...layers.keys()]) if (!card.isConnected) layers.delete(card);
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
  const on = hasMasks();
  for (const card of styleCards()) card.classList.toggle("masked", on || isOn());
}

toggle.addEventListener("click", () => {
  const on = !isOn();
  toggle.setAttribute("aria-pressed", String(on));
  tools.hidden = !on;
  one("[data-mask-hint]").hidden = !on;
  canvas.hidden = !on && !hasMasks();
  canvas.tabIndex = on ? 0 : -1;
  marks();
  if (on) chips();
});
one("[data-mask-erase]").addEventListener("click", () => erase(!erasing));
one("[data-mask-fill]").addEventListener("click", () => {
  if (!chosen) return;
  const target = layerOf(chosen);
  const pen = target.getContext("2d");
  const free = document.createElement("canvas");
  free.width = canvas.width;
  free.height = canvas.height;
  const rest = free.getContext("2d");
  rest.fillStyle = "#fff";
  rest.fillRect(0, 0, free.width, free.height);
  rest.globalCompositeOperation = "destination-out";
  for (const [card, layer] of layers) if (card !== chosen && layer.painted) rest.drawImage(layer, 0, 0);
  pen.globalCompositeOperation = "source-over";
  pen.drawImage(free, 0, 0);
  target.painted = true;
  marks();
  draw();
});
one("[data-mask-clear]").addEventListener("click", () => {
  layers.clear();
  marks();
  draw();
});
sizeInput.addEventListener("input", draw);

// Masks as PNG files: white where the style applies.
async function fileOf(layer) {
  const page = document.createElement("canvas");
  page.width = canvas.width;
  page.height = canvas.height;
  const pen = page.getContext("2d");
  pen.fillStyle = "#000";
  pen.fillRect(0, 0, page.width, page.height);
  if (layer) pen.drawImage(layer, 0, 0);
  return new Promise((resolve) => page.toBlob(resolve, "image/png"));
}

function isBlank(layer) {
  if (!layer?.painted) return true;
  const small = document.createElement("canvas"); // reading it back does not slow the brush down
  small.width = small.height = 64;
  const pen = small.getContext("2d", { willReadFrequently: true });
  pen.drawImage(layer, 0, 0, 64, 64);
  return !pen.getImageData(0, 0, 64, 64).data.some((value) => value > 0);
}

export async function regions() {
  if (!hasMasks()) return [];
  const cards = styleCards();
  const blank = cards.findIndex((card) => isBlank(layers.get(card)));
  if (blank >= 0) {
    throw Object.assign(new Error(`Style ${blank + 1} has no area. Paint one for it, remove it, or clear all areas.`), { field: "styles" });
  }
  const found = [];
  for (const [index, card] of cards.entries()) {
    found.push((await uploadMask(await fileOf(layers.get(card)), `area of style ${index + 1}`)).sha256);
  }
  return found;
}

// Masks of a run whose settings are used again.
function restore() {
  for (const card of styleCards()) {
    if (!card.dataset.region) continue;
    const image = new Image();
    image.onload = () => {
      const layer = layerOf(card);
      const pen = layer.getContext("2d");
      pen.drawImage(image, 0, 0, layer.width, layer.height);
      const pixels = pen.getImageData(0, 0, layer.width, layer.height);
      for (let at = 0; at < pixels.data.length; at += 4) {
        pixels.data[at + 3] = pixels.data[at];
        pixels.data.fill(255, at, at + 3);
      }
      pen.putImageData(pixels, 0, 0);
      layer.painted = true;
      canvas.hidden = false;
      marks();
      draw();
    };
    image.src = `/pictures/${card.dataset.region}/shown.jpg`;
  }
}

document.addEventListener("styles", chips);
document.addEventListener("content", () => {
  layers.clear();
  resize();
  draw();
});
resize();
chips();
restore();
