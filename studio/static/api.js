// Calls of the studio. A refusal is an error with a message, a hint and the field that it is about.

export class Refusal extends Error {
  constructor({ message, hint, field }) {
    super(message);
    this.hint = hint || "";
    this.field = field || "";
  }
  get text() {
    const message = this.message.replace(/^(the|there|a) /, (word) => word.charAt(0).toUpperCase() + word.slice(1));
    return this.hint ? `${message.replace(/[.]?$/, ".")} ${this.hint}` : message;
  }
}

export async function call(path, { method = "POST", json, body } = {}) {
  const options = { method, body };
  if (json !== undefined) {
    options.body = JSON.stringify(json);
    options.headers = { "Content-Type": "application/json" };
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Refusal({ message: "the studio does not answer", hint: "Check that styleserve studio is still running." });
  }
  if (response.status === 204) return null;
  const type = response.headers.get("content-type") || "";
  const found = type.includes("json") ? await response.json() : await response.text();
  if (!response.ok) {
    throw new Refusal(found.message ? found : { message: `the studio answered ${response.status}`, hint: "Load the page again." });
  }
  return found;
}

export const one = (selector, root = document) => root.querySelector(selector);
export const all = (selector, root = document) => [...root.querySelectorAll(selector)];

export function showError(place, error) {
  if (!place) return;
  place.hidden = !error;
  place.textContent = error ? error.text || error.message : "";
}

// Copies a link; where the browser does not allow that, the user can.
export async function copyLink(path, text) {
  const link = new URL(path, location.href).href;
  try {
    await navigator.clipboard.writeText(link);
    toast(text);
  } catch {
    prompt("Copy this link:", link);
  }
}

export function toast(text) {
  one(".toast")?.remove();
  const note = document.createElement("p");
  note.className = "toast";
  note.setAttribute("role", "status");
  note.textContent = text;
  document.body.append(note);
  setTimeout(() => note.remove(), 4000);
}
