// Agents: each step as it is taken, where the arguments come from, and the questions that a human answers.

import { answerOf } from "./answer.js";
import { events, get, post } from "./api.js";
import { button, checkbox, el, field, fill, go, notice, when } from "./dom.js";

const LIVE = ["queued", "running", "waiting"];

export async function agent(main, id) {
  const task = el("textarea", { rows: "2", maxlength: "4000", required: true, name: "task" });
  const readOnly = checkbox("Only read");
  const alwaysAsk = checkbox("Ask before every call that does more than read");
  const runs = el("ul", { class: "runs" });
  const steps = el("section", { class: "steps", "aria-live": "polite", "aria-label": "Run" });
  let left = false;
  main.addEventListener("left", () => (left = true), { once: true });
  fill(
    main,
    el("h1", {}, "Agent"),
    el(
      "form",
      { onsubmit: begin },
      field("Task", task),
      el("div", { class: "row" }, readOnly.label, alwaysAsk.label),
      el("button", { type: "submit", class: "main" }, "Begin"),
    ),
    steps,
    el("h2", {}, "Runs"),
    runs,
  );
  await Promise.all([listed(), id && shown(id)]);

  async function begin(event) {
    event.preventDefault();
    try {
      const body = { task: task.value, read_only: readOnly.input.checked, always_ask: alwaysAsk.input.checked };
      go(`#/agent/${(await post("api/agents", body)).id}`);
    } catch (error) {
      notice(error.message);
    }
  }

  async function listed() {
    const known = await get("api/agents?limit=20");
    fill(
      runs,
      known.runs.map((run) =>
        el("li", {}, el("a", { href: `#/agent/${encodeURIComponent(run.id)}` }, run.task), el("span", { class: "quiet" }, ` ${run.state}, ${when(run.created_at)}`)),
      ),
    );
  }

  async function shown(run) {
    const path = `api/agents/${encodeURIComponent(run)}`;
    const log = el("ol", { class: "log" });
    const state = el("p", { role: "status" });
    const asked = el("div", { class: "approval-place" });
    const detail = await get(path);
    fill(steps, el("h2", {}, detail.task), log, asked, state);
    let after = -1;
    for (;;) {
      let current = null;
      for await (const event of events(`${path}/events?after=${after}`)) {
        if (left) return;
        if (event.name === "step") {
          after = Number(event.id);
          log.append(...step(event.body));
        } else {
          current = event.body;
          say(current);
        }
      }
      if (current?.state !== "waiting" || !current.approval) return;
      const approved = await decided(current.approval);
      if (left) return;
      await post(`${path}/decision`, { approval_id: current.approval.id, approved });
    }

    function say(run) {
      const error = run.error ? `: ${run.error}` : "";
      fill(
        state,
        `${run.state}${error} `,
        LIVE.includes(run.state) && button("Cancel", () => post(`${path}/cancel`)),
        ["interrupted", "cancelled"].includes(run.state) && button("Go on", () => post(`${path}/resume`).then(() => shown(detail.id))),
      );
    }

    function decided(approval) {
      return new Promise((resolve) => {
        const settle = (approved) => {
          fill(asked);
          resolve(approved);
        };
        const box = approvalOf(approval, settle);
        fill(asked, box);
        box.focus();
      });
    }
  }
}

function step(event) {
  if (event.kind === "thought") return [el("li", { class: "thought" }, event.text)];
  if (event.kind === "call") return [el("li", {}, "Calls ", callOf(event.call.name, event.call.arguments))];
  if (event.kind === "observation") return [observed(event.observation)];
  if (event.kind === "answer") return [el("li", {}, answerOf(event.answer))];
  return [];
}

function observed(seen) {
  const origin = seen.sources.length ? `from ${seen.sources.join(", ")}` : "";
  return el(
    "li",
    { class: seen.error ? "warn" : "" },
    el("details", {}, el("summary", {}, `${seen.name} ${seen.error ? "failed" : "returned"} ${seen.content.length} characters, ${seen.trusted ? "trusted" : "not trusted"}`), el("pre", { tabindex: "0" }, seen.content), el("p", { class: "quiet" }, origin)),
  );
}

function callOf(name, values) {
  return el("code", {}, `${name}(${Object.entries(values).map(([key, value]) => `${key}=${JSON.stringify(value)}`).join(", ")})`);
}

function approvalOf(asked, settle) {
  const may = asked.kind === "unknown" ? "It may have been made already. Make it again?" : "May this call be made?";
  return el(
    "section",
    { class: "approval", tabindex: "-1", role: "group", "aria-label": "Approval" },
    el("h3", {}, may),
    el("p", {}, callOf(asked.tool, asked.arguments)),
    el("p", {}, `It does: ${asked.effects.join(", ") || "nothing outside"}. ${asked.reason}`),
    el(
      "ul",
      {},
      asked.origins.map((one) =>
        el("li", {}, el("code", {}, one.path), ` = ${JSON.stringify(one.value)}: `, el("span", { class: one.trusted ? "good" : "bad" }, one.trusted ? "trusted" : "not trusted"), `, ${one.why}`, one.sources.length > 0 && ` (${one.sources.join(", ")})`),
      ),
    ),
    el("p", { class: "quiet" }, `Until ${when(asked.expires_at)}`),
    el("div", { class: "row" }, button("Approve", () => settle(true), { class: "main" }), button("Deny", () => settle(false))),
  );
}
