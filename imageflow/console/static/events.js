// SharedWorker: one event stream for all tabs of a browser. It is open while at least one visible tab listens.
const listening = new Set();
let source = null;
let url = null;

const tell = message => listening.forEach(port => port.postMessage(message));

function tend() {
  if (!listening.size) {
    source?.close();
    source = null;
  } else if (!source || source.readyState === EventSource.CLOSED) {
    source = new EventSource(url);
    source.onopen = () => tell({state: "open"});
    source.onerror = () => tell({state: "error"});
    source.onmessage = ({data, lastEventId}) => tell({topic: data, id: lastEventId}); // data is the topic, nothing else
  }
}

onconnect = ({ports: [port]}) => {
  port.onmessage = ({data}) => {
    url ??= data.url;
    if (data.listen) listening.add(port);
    else listening.delete(port);
    if (data.listen && source?.readyState === EventSource.OPEN) port.postMessage({state: "open"});
    tend();
  };
};
