// The page: paints what the form says, keys for all of it, the state of the server.

import { all, call, copyLink, one, showError, toast } from "./api.js";
import { listen, on } from "./events.js";
import { clearErrors, formValues, offerSizes, showRefusal } from "./form.js";
import { regions } from "./masks.js";
import { loadHistory, open, stop } from "./run.js";
import { uploadsDone } from "./upload.js";

const form = one("#compose");

async function start(path) {
  clearErrors();
  const buttons = all(".actions button");
  buttons.forEach((button) => (button.disabled = true));
  try {
    await uploadsDone();
    const asked = formValues();
    const masks = await regions();
    const made = await call(path, { json: { ...asked, regions: masks } });
    await open(made.url);
    loadHistory();
    if (matchMedia("(max-width: 860px)").matches) one("#stage").scrollIntoView({ behavior: "auto" });
  } catch (error) {
    buttons.forEach((button) => (button.disabled = false));
    showRefusal(error);
  } finally {
    buttons.forEach((button) => (button.disabled = false));
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  start("/runs");
});
one("[data-sheet-start]").addEventListener("click", () => start("/sheets"));

// Enter paints and Esc stops, wherever the focus is; buttons, links and text areas keep their own Enter.
document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.isComposing) return;
  if (event.key === "Escape") {
    const menu = one("[data-menu][open]");
    if (menu) {
      menu.open = false;
      one("summary", menu).focus();
    } else stop();
  }
  if (event.key !== "Enter" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("button, a, summary, textarea, select, form.token")) return;
  event.preventDefault();
  if (!one("[data-paint]").disabled) form.requestSubmit();
});

one("[data-new-link]").addEventListener("click", async () => {
  try {
    const { path } = await call("/links");
    await copyLink(path, "Link copied. It opens the studio once, in another browser.");
  } catch (error) {
    toast(error.text || error.message);
  }
});

on("server", ({ state, text, hint, sizes }) => {
  if (sizes) offerSizes(sizes);
  one("[data-server]").dataset.state = state;
  one("[data-server-text]").textContent = text;
  const banner = one("[data-server-error]");
  banner.hidden = state !== "failed";
  showError(one("[data-server-message]"), state === "failed" ? { message: hint ? `${text}. ${hint}` : text } : null);
});
on("connection", ({ connected }) => {
  if (connected) return; // the state of the server follows
  one("[data-server]").dataset.state = "failed";
  one("[data-server-text]").textContent = "The studio does not answer";
});

listen(Number(one("main").dataset.after));
document.documentElement.dataset.ready = "true";
