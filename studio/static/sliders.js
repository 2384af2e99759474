// Sliders of the styles: the position stands for the value, for its power of 2, or for the share of the style.

import { all, one } from "./api.js";

const SHARE = "style_blend";
const isPower = (input) => "powers" in input.dataset;
const valueOf = (input) => (isPower(input) ? 2 ** Number(input.value) : Number(input.value));
const rounded = (value) => String(Number(value.toPrecision(4)));

export function begin(input) {
  if (input.type !== "range") return;
  const value = Number(input.dataset.value || input.dataset.default);
  input.dataset.share = value;
  input.value = isPower(input) ? Math.log2(value) : value;
  label(input);
}

export function label(input) {
  if (input.type === "range" && input.dataset.control !== SHARE) say(input, `${isPower(input) ? "× " : ""}${rounded(valueOf(input))}`);
}

function say(input, text) {
  one("output", input.parentElement).textContent = text;
  input.setAttribute("aria-valuetext", text);
}

// Shares add up to 1, as do their sliders: the others give way to the one that moved. They are kept beside the positions,
// which are rounded.
const sharesOf = (cards) => cards.map((card) => one(`[data-control="${SHARE}"]`, card)).filter(Boolean);
const shareOf = (input) => Number(input.dataset.share);

export function shareAlike(card, others) {
  for (const input of sharesOf([card])) input.dataset.share = 1 / Math.max(1, others.length);
}

export function spreadShares(cards, moved = null) {
  const inputs = sharesOf(cards);
  const others = inputs.filter((input) => input !== moved);
  const rest = inputs.includes(moved) && others.length ? 1 - valueOf(moved) : 1;
  const sum = others.reduce((total, input) => total + shareOf(input), 0);
  for (const input of inputs) {
    if (input === moved && others.length) input.dataset.share = valueOf(moved);
    else input.dataset.share = sum ? (shareOf(input) * rest) / sum : rest / Math.max(1, others.length);
  }
  for (const input of inputs) {
    input.value = shareOf(input);
    say(input, `${Math.round(100 * shareOf(input))} %`);
  }
}

// Values of all cards by the names of their controls; those that are the defaults are left out.
export function valuesOf(cards) {
  const values = {};
  for (const name of new Set(cards.flatMap((card) => all("[data-control]", card).map((input) => input.dataset.control)))) {
    const inputs = cards.map((card) => one(`[data-control="${name}"]`, card));
    const found = inputs.map((input) => rounded(name === SHARE ? shareOf(input) : valueOf(input)));
    const isDefault = name === SHARE ? found.every((value) => value === found[0]) : inputs.every((input) => valueOf(input) === Number(input.dataset.default));
    if (!isDefault) values[name] = found.join(",");
  }
  return values;
}
