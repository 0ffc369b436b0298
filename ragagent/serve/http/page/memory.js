// What agents remember from one run to the next: read, written, changed and forgotten.

import { get, post, put, remove } from "./api.js";
import { button, counted, el, field, fill, notice, said, when } from "./dom.js";

const CAME = {
  user: "you said it",
  task: "a run noted it, before it had read anything",
  derived: "a run noted it after it had read: not trusted",
};

/** The facts of who asks, read when they are unfolded. */
export function memoryOf() {
  const text = el("input", { type: "text", name: "fact", required: true, maxlength: "500", autocomplete: "off" });
  const count = el("p", { class: "quiet", role: "status" });
  const list = el("ul", { class: "facts" });
  const form = el("form", { onsubmit: added }, field("Remember something", text), el("button", { type: "submit" }, "Remember"));
  return el("details", { ontoggle: (event) => event.target.open && said(listed) }, el("summary", {}, "What it remembers"), form, count, list);

  async function listed() {
    const { facts, most } = await get("api/memory");
    count.textContent = `${counted(facts.length, "fact")} of at most ${most}`;
    fill(list, facts.map(row));
  }

  async function added(event) {
    event.preventDefault();
    await said(async () => {
      await post("api/memory", { text: text.value });
      text.value = "";
      await listed();
    });
  }

  function row(fact) {
    return el(
      "li",
      {},
      el("div", {}, fact.text, el("p", { class: "quiet" }, `${CAME[fact.came]} · ${when(fact.at)}`)),
      el(
        "div",
        { class: "row" },
        button("Change", (event) => changing(event.target.closest("li"), fact), { "aria-label": `Change: ${fact.text}` }),
        button("Forget", () => forgotten(fact), { "aria-label": `Forget: ${fact.text}` }),
      ),
    );
  }

  function changing(item, fact) {
    const words = el("input", { type: "text", required: true, maxlength: "500", value: fact.text, autocomplete: "off" });
    const kept = (event) => {
      event.preventDefault();
      said(() => put(address(fact), { text: words.value }).then(listed));
    };
    const back = button("Leave it", () => item.replaceWith(row(fact)));
    fill(item, el("form", { onsubmit: kept }, field("In your words", words), el("div", { class: "row" }, el("button", { type: "submit", class: "main" }, "Save"), back)));
    words.focus();
  }

  async function forgotten(fact) {
    await remove(address(fact));
    notice("It is forgotten.");
    await listed();
  }
}

function address(fact) {
  return `api/memory/${encodeURIComponent(fact.id)}`;
}
