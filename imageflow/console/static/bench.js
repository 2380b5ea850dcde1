// Editors in place of the text areas: comfort only. The text areas stay, hidden, and carry the text when the form is sent.
const {editor, mark} = await import(document.querySelector("script[data-editor]").dataset.editor);

for (const area of document.querySelectorAll("textarea[data-language]")) {
  const host = document.createElement("div");
  host.className = "editor";
  area.after(host);
  const view = editor(host, area.value, area.dataset.language, text => (area.value = text));
  view.contentDOM.setAttribute("aria-label", document.querySelector(`label[for="${area.id}"]`).textContent);
  area.addEventListener("input", () => {
    if (area.value !== view.state.doc.toString()) view.dispatch({changes: {from: 0, to: view.state.doc.length, insert: area.value}});
  });
  area.classList.add("behind");
  area.tabIndex = -1;
  const faults = [...document.querySelectorAll(`[data-step="${area.name}"][data-line]`)];
  if (faults.length) mark(view, faults.map(fault => ({line: Number(fault.dataset.line), message: fault.textContent})));
}

addEventListener("keydown", event => {
  if (!event.ctrlKey && !event.metaKey) return;
  const button = event.key === "Enter" ? "try" : event.key === "s" ? "save" : null;
  if (!button) return;
  event.preventDefault();
  event.stopPropagation(); // or the editor takes Ctrl Enter for a new line
  (document.querySelector(`button[name="do"][value="${button}"]`) ?? (button === "save" && document.querySelector("#settings button.main")))?.click?.();
}, true);
