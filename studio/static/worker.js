// One stream of events for all tabs: a browser opens only six connections to a host.

const ports = new Set();
const latest = new Map();
let source = null;
let last = "";

function open(after) {
  source = new EventSource(`/events?after=${last || after || 0}`);
  for (const kind of ["run", "server"]) {
    source.addEventListener(kind, (event) => {
      last = event.lastEventId;
      const number = Number(event.lastEventId);
      const message = { kind, data: { ...JSON.parse(event.data), number }, number };
      latest.set(`${kind} ${message.data.id || ""}`, message);
      for (const port of ports) port.postMessage(message);
    });
  }
  const tell = (connected) => {
    for (const port of ports) port.postMessage({ kind: "connection", data: { connected } });
  };
  source.onopen = () => tell(true);
  source.onerror = () => {
    tell(false);
    if (source.readyState === EventSource.CLOSED) setTimeout(() => open(last), 2000);
  };
}

addEventListener("connect", (event) => {
  const port = event.ports[0];
  port.onmessage = ({ data }) => {
    if (data.bye) {
      ports.delete(port);
      return;
    }
    ports.add(port);
    if (!source) open(data.after);
    for (const message of latest.values()) {
      if (message.number > data.after) port.postMessage(message);
    }
  };
});
