// Events of the studio, through the shared worker where the browser has one.

const listeners = new Map();

export function on(kind, listener) {
  listeners.set(kind, [...(listeners.get(kind) || []), listener]);
}

function dispatch(kind, data) {
  for (const listener of listeners.get(kind) || []) listener(data);
}

export function listen(after) {
  if (window.SharedWorker) {
    const { port } = new SharedWorker("/static/worker.js", { name: "styleserve-studio" });
    port.onmessage = ({ data }) => dispatch(data.kind, data.data);
    port.postMessage({ after });
    addEventListener("pagehide", () => port.postMessage({ bye: true }));
    addEventListener("pageshow", (event) => event.persisted && location.reload());
    return;
  }
  const source = new EventSource(`/events?after=${after}`);
  for (const kind of ["run", "server"]) {
    source.addEventListener(kind, (event) => {
      dispatch(kind, { ...JSON.parse(event.data), number: Number(event.lastEventId) });
    });
  }
  source.onopen = () => dispatch("connection", { connected: true });
  source.onerror = () => dispatch("connection", { connected: false });
}
