// Live regions. htmx's sse extension takes its sources from htmx.createEventSource: ours speaks to a SharedWorker, so that all
// tabs of a browser share one stream. Where there is no SharedWorker, each visible tab has a stream of its own.
Idiomorph.defaults.ignoreActiveValue = true; // or a renewed region takes back what is being typed in it

const live = document.getElementById("live");
const words = document.body.dataset;

/** @param {"live" | "paused" | "lost"} state */
function say(state) {
  if (!live) return;
  if (live.textContent !== words[state]) live.textContent = words[state];
  live.closest(".live").className = `live ${state === "live" ? "on" : state === "lost" ? "lost" : ""}`;
}

// What changed between the making of a page and the opening of its stream, nobody tells: so the regions look once.
const LOOK_AFTER_MS = 1200;
const look = () => document.querySelectorAll('[hx-trigger*="sse:"]').forEach(region => htmx.trigger(region, "look"));

class Stream extends EventTarget {
  readyState = EventSource.CONNECTING;
  #port;
  #own = null;
  #url;

  constructor(url) {
    super();
    this.#url = new URL(url, location.href).href;
    if (window.SharedWorker) {
      this.#port = new SharedWorker(words.events, {name: "events"}).port;
      this.#port.onmessage = ({data}) => this.#take(data);
    }
    document.addEventListener("visibilitychange", this.#tend);
    addEventListener("pageshow", this.#tend);
    addEventListener("pagehide", this.#leave);
    this.#tend();
  }

  #tend = () => this.#listen(!document.hidden);
  #leave = () => this.#listen(false);

  #listen(listen) {
    if (!listen) say("paused");
    if (this.#port) this.#port.postMessage({url: this.#url, listen});
    else if (!listen) {
      this.#own?.close();
      this.#own = null;
    } else if (!this.#own) {
      this.#own = new EventSource(this.#url);
      this.#own.onopen = () => this.#take({state: "open"});
      this.#own.onerror = () => this.#take({state: "error"});
      this.#own.onmessage = ({data, lastEventId}) => this.#take({topic: data, id: lastEventId});
    }
  }

  #take({state, topic, id}) {
    if (topic) return void this.dispatchEvent(new MessageEvent(topic, {data: topic, lastEventId: id}));
    say(state === "open" ? "live" : "lost");
    if (state === "open") setTimeout(look, LOOK_AFTER_MS);
    this.readyState = state === "open" ? EventSource.OPEN : EventSource.CONNECTING;
    this[`on${state}`]?.(new Event(state));
  }

  close() {
    document.removeEventListener("visibilitychange", this.#tend);
    removeEventListener("pageshow", this.#tend);
    removeEventListener("pagehide", this.#leave);
    this.#leave();
  }
}

htmx.createEventSource = url => new Stream(url);

// What somebody reads or works with is not taken away under their hands: it is said instead that there is something newer.
document.body.addEventListener("htmx:beforeSwap", event => {
  const target = event.detail.target;
  if (event.detail.xhr.status !== 200 || event.detail.xhr.responseURL.includes("/login")) {
    event.detail.shouldSwap = false;
    return;
  }
  const fresh = new DOMParser().parseFromString(event.detail.xhr.responseText, "text/html");
  badge(fresh);
  const selected = getSelection();
  const busy = (selected && !selected.isCollapsed && target.contains(selected.anchorNode)) || target.querySelector("details[open] :focus, textarea:focus, input:checked");
  const more = newer(target, fresh);
  const waits = busy || (more > 0 && scrollY > TOP);
  if (waits) event.detail.shouldSwap = false;
  else if (foreign(fresh)) {
    event.detail.shouldSwap = false;
    return location.reload();
  } else if (outcome(target) !== outcome(fresh.getElementById(target.id))) document.querySelector("#notice [data-begun]")?.remove();
  const line = document.getElementById("newer");
  const text = waits && more > 0 ? words.more.replace("{}", more) : busy && said(target) !== said(fresh.getElementById(target.id)) ? words.newer : "";
  if (line.textContent === text) return;
  line.replaceChildren();
  if (!text) return;
  const again = document.createElement("a");
  again.href = location.href.split("#")[0];
  again.textContent = text;
  line.append(again);
});

// Nothing moves under the eyes of who has scrolled down a list: it is said how many rows are new at its top.
const TOP = 240;
const addresses = root => [...root.querySelectorAll("table[data-list] tbody tr")].map(row => row.querySelector("a[href]")?.getAttribute("href"));

// What a region says, but for how long ago something was, and what is marked in it.
function said(region) {
  const copy = region?.cloneNode(true);
  copy?.querySelectorAll("time, #marked").forEach(one => one.remove());
  return copy?.textContent.replace(/\s+/g, " ");
}

// A page's policy names the hosts of its pictures: those of others show once the page is loaded anew.
const hosts = root => (root.getElementById("hosts")?.dataset.hosts ?? "").split(" ").filter(Boolean);
const foreign = fresh => hosts(fresh).some(one => !hosts(document).includes(one));

// That something has begun is said until the page tells what came of it.
const outcome = region => `${region?.dataset.outcome} ${region?.querySelector("h1")?.textContent}`;

// How many causes are open stands beside the page's region.
function badge(fresh) {
  for (const link of document.querySelectorAll("nav a")) {
    const open = fresh.querySelector(`nav a[href="${link.getAttribute("href")}"]`)?.dataset.open;
    if (open) link.dataset.open = open;
    else delete link.dataset.open;
  }
}

function newer(target, fresh) {
  const known = new Set(addresses(target));
  if (!known.size) return 0;
  const found = addresses(fresh);
  const first = found.findIndex(one => known.has(one));
  return first < 0 ? found.length : first;
}

const clock = document.querySelector(".clock time");
if (clock) setInterval(() => {
  const shown = new Date().toLocaleTimeString("en-GB", {timeZone: clock.dataset.zone, hour: "2-digit", minute: "2-digit"});
  if (clock.textContent !== shown) clock.textContent = shown;
}, 5000);
