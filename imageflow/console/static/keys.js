// Keys: / and Ctrl K search; g and a letter goes to a page; j k Enter r in a table; n p pages; [ ] versions or neighbours;
// arrows from failure to failure; Esc up; ? shows them all. None acts in a field, and none destroys without a question.
const rows = () => [...document.querySelectorAll("main table tbody tr")].filter(row => row.querySelector("a"));
const follow = selector => document.querySelector(selector)?.click();
let leader = 0;

function choose(step) {
  const all = rows();
  const at = all.findIndex(row => row.getAttribute("aria-selected") === "true");
  const next = all[Math.min(all.length - 1, Math.max(0, at < 0 ? (step > 0 ? 0 : all.length - 1) : at + step))];
  if (!next) return;
  all.forEach(row => row.removeAttribute("aria-selected"));
  next.setAttribute("aria-selected", "true");
  next.querySelector("a").focus({preventScroll: true});
  next.scrollIntoView({block: "nearest"});
}

const chosen = () => document.querySelector('main tr[aria-selected="true"]');
const actions = {
  j: () => choose(1),
  k: () => choose(-1),
  r: () => (chosen()?.querySelector("form button") ?? document.querySelector("[data-again] button"))?.focus(),
  n: () => follow('[data-key="next"]'),
  p: () => follow('[data-key="previous"]'),
  "[": () => follow('[data-key="before"]'),
  "]": () => follow('[data-key="after"]'),
  ArrowLeft: () => failure(-1),
  ArrowRight: () => failure(1),
  "/": () => document.getElementById("q")?.focus(),
  "?": () => document.getElementById("keys")?.togglePopover?.(),
};

function failure(step) {
  const failed = [...document.querySelectorAll('main tr:has([data-state="failed"]) a')];
  const at = failed.indexOf(document.activeElement);
  failed[at < 0 ? (step > 0 ? 0 : failed.length - 1) : Math.min(failed.length - 1, Math.max(0, at + step))]?.focus();
}

addEventListener("keydown", event => {
  const field = event.target.closest?.("input, textarea, select, [contenteditable]");
  if (event.key === "k" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    return void document.getElementById("q")?.focus();
  }
  if (event.key === "Escape") return void (field ? field.blur() : follow('[data-key="up"]'));
  if (field || event.ctrlKey || event.metaKey || event.altKey) return;
  if (leader > Date.now()) {
    leader = 0;
    return follow(`nav a[data-key="${CSS.escape(event.key)}"]`);
  }
  if (event.key === "g") return void (leader = Date.now() + 1500);
  const act = actions[event.key];
  if (act) {
    if (event.key === "/" || event.key.startsWith("Arrow")) event.preventDefault();
    act();
  }
});
