// Asking, within conversations that are kept.

import { answerOf, evidenceOf } from "./answer.js";
import { events, get, post, remove } from "./api.js";
import { button, counted, el, field, fill, go, notice, when } from "./dom.js";

/** The page; `id` is the conversation that is opened, none for a new one. */
export async function ask(main, id) {
  const log = el("div", { class: "log", role: "log", "aria-label": "Questions and answers" });
  const list = el("nav", { class: "conversations", "aria-label": "Conversations" });
  const question = el("textarea", { rows: "2", maxlength: "4000", required: true, name: "question" });
  const where = el("input", { type: "text", name: "where", placeholder: 'type = "pdf" and date >= 2024-01-01' });
  const send = el("button", { type: "submit", class: "main" }, "Ask");
  const cancel = button("Cancel", () => going?.abort(), { hidden: true });
  const state = el("p", { class: "quiet", role: "status" });
  let going = null;
  let conversation = id ?? null;

  const form = el(
    "form",
    { class: "asking", onsubmit: submitted },
    field("Your question", question),
    el("details", {}, el("summary", {}, "Only some documents"), field("Filter", where)),
    el("div", { class: "row" }, send, cancel, state),
  );
  question.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  fill(main, el("h1", {}, "Ask"), el("div", { class: "columns" }, list, el("section", {}, log, form)));
  main.addEventListener("left", () => going?.abort(), { once: true });
  await Promise.all([listed(), opened()]);
  if (!conversation) log.append(await welcome());
  question.focus();

  async function listed() {
    const { conversations } = await get("api/conversations");
    fill(
      list,
      el("a", { href: "#/ask", class: "button" }, "New"),
      el(
        "ul",
        {},
        conversations.map((one) =>
          el(
            "li",
            {},
            el("a", { href: `#/ask/${one.id}`, "aria-current": one.id === conversation && "page", title: when(one.saved_at) }, one.title || "(empty)"),
            button("×", () => forget(one), { class: "quiet", "aria-label": `Delete the conversation: ${one.title}` }),
          ),
        ),
      ),
    );
  }

  async function forget(one) {
    await remove(`api/conversations/${one.id}`);
    notice("The conversation is deleted.");
    if (one.id === conversation) go("#/ask");
    else await listed();
  }

  async function opened() {
    if (!conversation) return;
    const { turns } = await get(`api/conversations/${encodeURIComponent(conversation)}`);
    for (const turn of turns) log.append(el("h2", {}, turn.question), answerOf({ ...turn, claims: [], confidence: null, usage: null }));
  }

  async function submitted(event) {
    event.preventDefault();
    const text = question.value.trim();
    if (!text || going) return;
    const place = el("div", { class: "turn" }, el("h2", {}, text));
    log.querySelector(".welcome")?.remove();
    log.append(place);
    question.value = "";
    busy(new AbortController());
    try {
      conversation ??= (await post("api/conversations")).id;
      await followed(place, { question: text, where: where.value.trim() || null, conversation });
      history.replaceState(null, "", `#/ask/${conversation}`);
      await listed();
    } catch (error) {
      const said = error.name === "AbortError" ? "Cancelled." : error.message;
      place.append(el("p", { class: "warn" }, said));
      question.value ||= text;
    } finally {
      busy(null);
      question.focus();
    }
  }

  async function followed(place, body) {
    const writing = el("p", { class: "said" });
    place.append(writing);
    for await (const event of events("api/ask/events", { body, signal: going.signal })) {
      if (event.name === "queued") state.textContent = event.body.ahead ? `${event.body.ahead} before you` : "Reading…";
      if (event.name === "evidence") {
        state.textContent = "Writing…";
        place.append(evidenceOf(event.body));
      }
      if (event.name === "text") writing.textContent += event.body.text;
      if (event.name === "answer") writing.replaceWith(answerOf(event.body));
    }
    place.scrollIntoView({ block: "end" });
  }

  function busy(controller) {
    going = controller;
    cancel.hidden = !controller;
    send.disabled = Boolean(controller);
    state.textContent = controller ? "Searching…" : "";
  }
}

/** What is there to be asked about. */
async function welcome() {
  const { documents } = await get("api/status");
  const said = documents
    ? ["Answers come from ", el("a", { href: "#/documents" }, counted(documents, "document")), ", with the words that they stand on."]
    : ["There are no documents yet. ", el("a", { href: "#/documents" }, "Add some"), ", then ask about them."];
  return el("p", { class: "welcome quiet" }, said);
}
