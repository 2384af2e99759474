// Layers of the areas: a canvas for each style, opaque where the style paints. A pixel has one style at most.

const layers = new Map(); // card of a style -> its layer
let [width, height] = [3, 2];
let edited = false;

export const isEdited = () => edited;

export const hasMasks = () => [...layers].some(([card, layer]) => card.isConnected && layer.painted);

function sheet(itsWidth = width, itsHeight = height) {
  const canvas = document.createElement("canvas");
  canvas.width = itsWidth;
  canvas.height = itsHeight;
  return canvas;
}

function layerOf(card) {
  if (!layers.has(card)) layers.set(card, sheet());
  return layers.get(card);
}

export function clear() {
  layers.clear();
  edited = true;
}

export function begin(itsWidth, itsHeight) {
  layers.clear();
  [width, height] = [itsWidth, itsHeight];
}

export function forgetRemoved() {
  for (const card of [...layers.keys()]) if (!card.isConnected) layers.delete(card);
}

// Adds a shape to the layer of one style, and removes it from all others; null removes it from all.
export function apply(cards, to, shape) {
  edited = true;
  for (const card of cards) {
    const layer = layerOf(card);
    if (card === to) layer.painted = true;
    else if (!layer.painted) continue;
    const pen = layer.getContext("2d");
    pen.globalCompositeOperation = card === to ? "source-over" : "destination-out";
    pen.fillStyle = pen.strokeStyle = "#fff";
    shape(pen);
  }
}

// Gives what no style has to one of them.
export function fillRest(to) {
  edited = true;
  const free = sheet();
  const rest = free.getContext("2d");
  rest.fillStyle = "#fff";
  rest.fillRect(0, 0, width, height);
  rest.globalCompositeOperation = "destination-out";
  for (const [card, layer] of layers) if (card !== to && layer.painted) rest.drawImage(layer, 0, 0);
  const layer = layerOf(to);
  const pen = layer.getContext("2d");
  pen.globalCompositeOperation = "source-over";
  pen.drawImage(free, 0, 0);
  layer.painted = true;
}

export function drawTinted(pen, card, colour) {
  const layer = layers.get(card);
  if (!layer?.painted) return;
  const tinted = sheet();
  const tint = tinted.getContext("2d");
  tint.fillStyle = colour;
  tint.fillRect(0, 0, width, height);
  tint.globalCompositeOperation = "destination-in";
  tint.drawImage(layer, 0, 0);
  pen.drawImage(tinted, 0, 0);
}

export function isBlank(card) {
  const layer = layers.get(card);
  if (!layer?.painted) return true;
  const small = sheet(64, 64); // reading it back does not slow the brush down
  const pen = small.getContext("2d", { willReadFrequently: true });
  pen.drawImage(layer, 0, 0, 64, 64);
  return !pen.getImageData(0, 0, 64, 64).data.some((value) => value > 0);
}

// The mask as a PNG file: white where the style applies.
export function fileOf(card) {
  const page = sheet();
  const pen = page.getContext("2d");
  pen.fillStyle = "#000";
  pen.fillRect(0, 0, width, height);
  if (layers.has(card)) pen.drawImage(layers.get(card), 0, 0);
  return new Promise((resolve) => page.toBlob(resolve, "image/png"));
}

// The layer of a mask that was uploaded before.
export async function load(card, url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  const layer = layerOf(card);
  const pen = layer.getContext("2d");
  pen.drawImage(image, 0, 0, width, height);
  const pixels = pen.getImageData(0, 0, width, height);
  for (let at = 0; at < pixels.data.length; at += 4) {
    pixels.data[at + 3] = pixels.data[at];
    pixels.data.fill(255, at, at + 3);
  }
  pen.putImageData(pixels, 0, 0);
  layer.painted = true;
}
