// Keys: / and Ctrl K search; g and a letter goes to a page; j k Enter x r in a table; n p pages; [ ] previous and next of the
// list one came from; arrows from failure to failure; Esc up; ? shows them all. None acts in a field, and none destroys
// without a question.
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
  r: () => (chosen()?.querySelector("form button") ?? document.querySelector("#marked.some button") ?? document.querySelector("[data-again] button"))?.focus(),
  n: () => follow('[data-key="next"]'),
  p: () => follow('[data-key="previous"]'),
  x: () => chosen()?.querySelector('input[type="checkbox"]')?.click(),
  "[": () => neighbour(-1),
  "]": () => neighbour(1),
  ArrowLeft: () => failure(-1),
  ArrowRight: () => failure(1),
  "/": () => document.getElementById("q")?.focus(),
  "?": () => document.getElementById("keys")?.togglePopover?.(),
};

function failure(step) {
  const failed = [...document.querySelectorAll('main .pages a, main tr:has([data-state="failed"]) td:has(a) > a:first-child')];
  const at = failed.indexOf(document.activeElement);
  failed[at < 0 ? (step > 0 ? 0 : failed.length - 1) : Math.min(failed.length - 1, Math.max(0, at + step))]?.focus();
}

// The addresses of the list that one came from, for this tab alone.
const LIST = "imageflow-list";

function neighbour(step) {
  const list = JSON.parse(sessionStorage.getItem(LIST) ?? "[]");
  const at = list.indexOf(location.pathname);
  const to = at < 0 ? undefined : list[at + step];
  if (to) location.assign(to);
}

addEventListener("click", event => {
  const row = event.target.closest?.("main table tbody tr, main .wall a, main .reel figure");
  const link = event.target.closest?.("a[href]");
  if (!row || !link) return;
  const place = row.tagName === "TR" ? [...row.querySelectorAll("a[href]")].indexOf(link) : 0;
  const all = row.tagName === "TR" ? [...row.parentElement.rows] : [...row.parentElement.children];
  const found = all.map(one => (one.matches("a") ? one : [...one.querySelectorAll("a[href]")][place])?.pathname).filter(Boolean);
  sessionStorage.setItem(LIST, JSON.stringify(found.slice(0, 500)));
});
if (!document.querySelector("nav form, form[action='/logout']")) sessionStorage.removeItem(LIST);

// Marked rows: the button says how many it is about.
function tell() {
  const form = document.getElementById("marked");
  if (!form) return;
  const number = document.querySelectorAll('input[form="marked"]:checked').length;
  const label = form.querySelector("button span");
  form.dataset.none ??= label.textContent;
  form.classList.toggle("some", number > 0);
  label.textContent = number === 0 ? form.dataset.none : number === 1 ? form.dataset.one : form.dataset.many.replace("{}", number);
}
addEventListener("change", tell);
document.body.addEventListener("htmx:afterSwap", tell);
tell();

addEventListener("keydown", event => {
  const target = event.composedPath()[0]; // of what is typed into an editor, whose insides event.target hides
  const field = target.closest?.("input:not([type=checkbox]), textarea, select, [contenteditable]");
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
