// The form: its values, its errors, and the cards of the styles.

import { all, one, showError } from "./api.js";
import { begin, label, shareAlike, spreadShares, valuesOf } from "./sliders.js";

const form = one("#compose");

export const styleCards = () => all("[data-style]", one("[data-styles]"));

export function newStyle() {
  const card = one("[data-style-template]").content.firstElementChild.cloneNode(true);
  all("[data-control]", card).forEach(begin);
  shareAlike(card, styleCards());
  return card;
}

export function numberStyles() {
  const cards = styleCards();
  cards.forEach((card, index) => {
    card.className = card.className.replace(/tone-\d/, `tone-${(index % 8) + 1}`);
    one("[data-remove]", card).setAttribute("aria-label", `Remove style ${index + 1}`);
    one("[data-pick]", card).setAttribute("aria-label", `Choose another painting for style ${index + 1}`);
  });
  one("[data-add-text]").textContent = cards.length ? "Add another painting" : "Add a painting";
  one("[data-add-slot]").hidden = cards.length >= Number(one("[data-styles]").dataset.most);
  spreadShares(styleCards());
  document.dispatchEvent(new Event("styles"));
}

export function changed() {
  showError(one("[data-form-error]"), null);
  const ready = one("[data-content]").dataset.sha256 && styleCards().some((card) => card.dataset.sha256);
  one("[data-paint]").classList.toggle("ready", Boolean(ready));
}

// Values
export function formValues() {
  const values = valuesOf(styleCards());
  for (const input of all("[data-field]", form)) if (input.value.trim()) values[input.dataset.field] = input.value.trim();
  const own = one("[data-own-size]").value.trim();
  const size = own || one('input[name="size"]:checked')?.value;
  if (size && size !== one("[data-sizes]").dataset.default) values.max_side = size; // else the model's own
  return {
    content: one("[data-content]").dataset.sha256 || "",
    styles: styleCards().map((card) => card.dataset.sha256).filter(Boolean),
    preset: one('input[name="preset"]:checked')?.value || "",
    values,
  };
}

export function fill(preset, values) {
  const radio = one(`input[name="preset"][value="${CSS.escape(preset)}"]`);
  if (radio) radio.checked = true;
  let folded = false;
  for (const input of all("[data-field]", form)) {
    input.value = values[input.dataset.field] || "";
    folded ||= Boolean(input.value);
  }
  for (const input of all("[data-styles] [data-control]", form)) {
    const given = values[input.dataset.control]?.split(",");
    const index = styleCards().indexOf(input.closest("[data-style]"));
    input.dataset.value = given ? given[given.length === 1 ? 0 : index] || input.dataset.default : input.dataset.default;
    begin(input);
  }
  if (folded) one("[data-advanced]").open = true;
  spreadShares(styleCards());
  placeholders();
}

// Sizes that the model allows, once the server has said so.
export function offerSizes(sizes) {
  const labels = all("[data-sizes] label:not(.own-size)");
  const values = labels.map((label) => Number(one("input", label).value));
  if (String(values) === String(sizes)) return;
  const chosen = Number(one('input[name="size"]:checked')?.value);
  const kept = sizes.includes(chosen) ? chosen : sizes[sizes.length - 1];
  const made = sizes.map((size) => {
    const label = labels[0].cloneNode(true);
    const input = one("input", label);
    input.value = size;
    input.defaultChecked = input.checked = size === kept;
    one("span", label).textContent = size;
    return label;
  });
  labels.forEach((label) => label.remove());
  one("[data-sizes]").prepend(...made);
}

// A preset's own values are what an empty field means.
function placeholders() {
  const radio = one('input[name="preset"]:checked');
  const own = radio ? JSON.parse(radio.dataset.own) : {};
  for (const input of all("[data-field]", form)) {
    const value = own[input.dataset.field];
    if (input.tagName === "SELECT") input.options[0].text = value ? `Default (${value})` : "Default";
    else if (input.dataset.default) input.placeholder = value ?? input.dataset.default;
  }
}

// Errors
export function clearErrors() {
  all("[data-field-error], [data-form-error], [data-styles-error]").forEach((place) => showError(place, null));
  all("[aria-invalid]", form).forEach((input) => input.removeAttribute("aria-invalid"));
}

export function showRefusal(error) {
  const place = one(`[data-field-error="${CSS.escape(error.field || "-")}"]`);
  if (place) {
    showError(place, error);
    const folded = place.closest("details");
    if (folded) folded.open = true;
    const input = one(`[data-field="${CSS.escape(error.field)}"]`) || one("[data-own-size]");
    input.setAttribute("aria-invalid", "true");
    input.focus();
    place.scrollIntoView({ block: "nearest" });
    return;
  }
  if (error.field === "content") {
    showError(one("[data-content] [data-error]"), error);
    one("[data-content] [data-pick]").focus();
  } else if (error.field === "styles") {
    showError(one("[data-styles-error]"), error);
    one("[data-add-slot] [data-pick]").focus();
  } else showError(one("[data-form-error]"), error);
}

form.addEventListener("input", (event) => {
  const input = event.target;
  if (input.matches("[data-control]")) {
    label(input);
    spreadShares(styleCards(), input);
  }
  if (input.name === "preset") placeholders();
  if (input.name === "size") one("[data-own-size]").value = "";
  if (input.hasAttribute("aria-invalid")) clearErrors();
});
one("[data-reset]").addEventListener("click", () => {
  fill(one('input[name="preset"]:checked')?.value || "painter", {});
  clearErrors();
});

all("[data-styles] [data-control]").forEach(begin);
if (all("[data-field]", form).some((input) => input.value)) one("[data-advanced]").open = true;
numberStyles();
placeholders();
changed();
