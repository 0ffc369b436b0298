// Agents: each step as it is taken, where the arguments come from, and the questions that a human answers.

import { answerOf } from "./answer.js";
import { events, get, post } from "./api.js";
import { button, checkbox, el, field, fill, go, said, when } from "./dom.js";
import { memoryOf } from "./memory.js";

const WAYS = {
  react: ["Step by step", "Each call is chosen from what the ones before gave."],
  plan: ["Plan, then act", "All calls are planned before anything is read; what is read cannot change the plan."],
  refine: ["Draft and revise", "A critic lists what nothing supports in the first answer, and one more is written."],
  team: ["Team", "A leader gives tasks to a researcher, a worker and a critic."],
  vote: ["Vote", "Sums and answers are written several times, and what most agree on counts."],
};
const STATES = {
  queued: "Waits for its turn",
  running: "Works",
  waiting: "Waits for your decision",
  done: "Done",
  failed: "Failed",
  cancelled: "Cancelled",
  interrupted: "Interrupted",
};
const LIVE = ["queued", "running", "waiting"];

export async function agent(main, id) {
  // First, so that nothing that is chosen is put back to what it was.
  const known = await get("api/agents?limit=20");
  const task = el("textarea", { rows: "2", maxlength: "4000", required: true, name: "task" });
  const readOnly = checkbox("Only read");
  const alwaysAsk = checkbox("Ask before every call that does more than read");
  const remember = checkbox("Remember and recall");
  const where = el("input", { type: "text", name: "where", placeholder: 'type = "pdf" and date >= 2024-01-01' });
  const hint = el("span", { class: "quiet", id: "way-hint" });
  const way = el(
    "select",
    { name: "strategy", "aria-describedby": "way-hint", onchange: hinted },
    Object.entries(WAYS).map(([value, [name]]) => el("option", { value }, name)),
  );
  const memory = el("section", { "aria-label": "Memory" });
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
      el("div", { class: "row" }, field("Strategy", way), hint),
      el("div", { class: "row" }, readOnly.label, alwaysAsk.label, remember.label),
      el("details", {}, el("summary", {}, "Only some documents"), field("Filter", where)),
      el("button", { type: "submit", class: "main" }, "Begin"),
    ),
    steps,
    el("h2", {}, "Runs"),
    runs,
    memory,
  );
  way.value = known.strategy;
  hinted();
  remember.label.hidden = known.memory === null;
  remember.input.checked = known.memory === true;
  if (known.memory !== null) fill(memory, memoryOf());
  list(known.runs);
  if (id) await shown(id);

  function hinted() {
    hint.textContent = WAYS[way.value][1];
  }

  async function begin(event) {
    event.preventDefault();
    const body = {
      task: task.value,
      strategy: way.value,
      where: where.value.trim() || null,
      read_only: readOnly.input.checked,
      always_ask: alwaysAsk.input.checked,
      memory: remember.input.checked,
    };
    await said(async () => go(`#/agent/${(await post("api/agents", body)).id}`));
  }

  function list(latest) {
    fill(
      runs,
      latest.map((run) =>
        el("li", {}, el("a", { href: `#/agent/${encodeURIComponent(run.id)}` }, run.task), el("span", { class: "quiet" }, ` ${STATES[run.state]} · ${WAYS[run.strategy][0]} · ${when(run.created_at)}`)),
      ),
    );
  }

  async function shown(run) {
    const path = `api/agents/${encodeURIComponent(run)}`;
    const log = el("ol", { class: "log" });
    const state = el("p", { role: "status" });
    const question = el("div", { class: "approval-place" });
    const detail = await get(path);
    fill(steps, el("h2", {}, detail.task), el("p", { class: "quiet" }, WAYS[detail.strategy][0]), log, question, state);
    const step = stepping();
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
      list((await get("api/agents?limit=20")).runs);
      if (current?.state !== "waiting" || !current.approval) return;
      const approved = await decided(current.approval);
      if (left) return;
      await post(`${path}/decision`, { approval_id: current.approval.id, approved });
    }

    function say(run) {
      const error = run.error ? `: ${run.error}` : "";
      fill(
        state,
        `${STATES[run.state]}${error} `,
        LIVE.includes(run.state) && button("Cancel", () => cancelled(run)),
        ["interrupted", "cancelled"].includes(run.state) && button("Go on", () => post(`${path}/resume`).then(() => shown(detail.id))),
      );
    }

    async function cancelled(run) {
      await post(`${path}/cancel`);
      // A run under way tells of it by its events; one that waits has none any more.
      if (run.state === "waiting") await shown(detail.id);
    }

    function decided(approval) {
      return new Promise((resolve) => {
        const settle = (approved) => {
          fill(question);
          resolve(approved);
        };
        const box = approvalOf(approval, settle);
        fill(question, box);
        box.focus();
      });
    }
  }
}

/** What each event is shown as. An answer is shown as itself; one that a critic is asked about is a draft. */
function stepping() {
  let draft = "";
  return (event) => {
    switch (event.kind) {
      case "thought":
        return [planned(event.text) ?? el("li", { class: "thought" }, event.text)];
      case "call":
        draft = event.call.name === "final_answer" ? String(event.call.arguments.answer) : "";
        return draft ? [] : [el("li", {}, "Calls ", callOf(event.call.name, event.call.arguments))];
      case "progress":
        return [el("li", { class: "quiet" }, howFar(event.progress))];
      case "observation":
        if (event.observation.name === "plan" && !event.observation.error) return [];
        return [draft && event.observation.name === "critic" && el("li", {}, "Drafts ", el("p", { class: "words" }, draft)), observed(event.observation)].filter(Boolean);
      case "answer":
        // A run that waits or was cancelled has no answer yet; its state says so.
        if (["approval", "cancelled"].includes(event.stopped)) return [];
        return [el("li", {}, answerOf({ ...event.answer, usage: event.usage }))];
      default:
        return [];
    }
  };
}

/** The plan that a thought is, its calls in order; null where it is none. */
function planned(text) {
  const calls = text.startsWith('{"plan"') ? planOf(text) : null;
  if (!calls) return null;
  return el("li", {}, "Plans ", el("ol", {}, calls.map((one) => el("li", {}, callOf(one.tool, one.arguments), el("p", { class: "quiet" }, one.need)))));
}

function planOf(text) {
  try {
    const { plan } = JSON.parse(text);
    return Array.isArray(plan) && plan.every((one) => one?.arguments) ? plan : null;
  } catch {
    return null;
  }
}

function howFar(progress) {
  const counted = progress.total ? `${progress.done} of ${progress.total}` : `${progress.done}`;
  return progress.text ? `${counted}: ${progress.text}` : counted;
}

function observed(seen) {
  if (seen.name === "critic") return el("li", {}, "The critic: ", el("p", { class: "words" }, seen.content));
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
    el("p", {}, asked.kind === "unknown" ? asked.reason : `You are asked because ${asked.reason}.`),
    el("p", { class: "quiet" }, `Effects: ${asked.effects.join(", ") || "none"}`),
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
