// Pictures on the stage: their frame, before and after, zoom.

import { all, one } from "./api.js";

export function layOut(root) {
  for (const frame of all("[data-frame]", root)) {
    const [width, height] = [Number(frame.dataset.width), Number(frame.dataset.height)];
    if (!width || !height) continue;
    frame.style.setProperty("--ratio", width / height);
    frame.style.setProperty("--full-width", `${width / devicePixelRatio}px`);
  }
  const painted = one('[data-look-image]:not([hidden])', root);
  if (painted) painted.decode().then(() => one(".looks").style.setProperty("--ratio", painted.naturalWidth / painted.naturalHeight)).catch(() => {});
  const divider = one("[data-divider]", root);
  if (!divider) return;
  const cut = () => {
    divider.closest("[data-frame]").style.setProperty("--cut", `${divider.value}%`);
    divider.setAttribute("aria-valuetext", `${divider.value} % of the photo`);
  };
  divider.addEventListener("input", cut);
  cut();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-zoom]");
  if (!button) return;
  const full = button.dataset.zoom === "full";
  const viewport = one("[data-viewport]", button.closest("[data-run-id]"));
  viewport.classList.toggle("full", full);
  for (const each of all("[data-zoom]", button.parentElement)) each.setAttribute("aria-pressed", String(each === button));
  if (full) {
    viewport.scrollLeft = (viewport.scrollWidth - viewport.clientWidth) / 2;
    viewport.scrollTop = (viewport.scrollHeight - viewport.clientHeight) / 2;
  }
});
