// An answer as it is shown: its claims, a numbered button for each citation, and how sure it is.

import { button, counted, el, number } from "./dom.js";
import { open } from "./source.js";

const WORDS = { grounded: "Grounded", partial: "In part", refused: "Not answered" };

export function answerOf(answer) {
  const shown = answer.claims.filter((claim) => claim.supported);
  const left = answer.claims.filter((claim) => !claim.supported);
  return el(
    "div",
    { class: `answer ${answer.status}` },
    answer.status === "refused"
      ? el("p", {}, el("strong", {}, "Not answered: "), answer.reason)
      : said(answer, shown),
    answer.status === "partial" && el("p", { class: "warn" }, answer.reason),
    answer.citations.length > 0 && el("ol", { class: "citations" }, answer.citations.map(quoted)),
    left.length > 0 && leftOut(left),
    footer(answer),
  );
}

function said(answer, claims) {
  if (!claims.length) return el("p", { class: "said" }, answer.text);
  return claims.map((claim) =>
    el("p", { class: "said" }, claim.text, claim.citations.map((at) => [" ", mark(answer.citations[at - 1])])),
  );
}

function mark(citation) {
  const label = `Source ${citation.number}: ${citation.title || citation.uri}`;
  return button(String(citation.number), () => open(citation), { class: "mark", "aria-label": label, title: label });
}

function quoted(citation) {
  const page = citation.page === null ? "" : `, page ${citation.page}`;
  return el(
    "li",
    { value: citation.number },
    el("q", {}, citation.quote),
    el(
      "div",
      { class: "row quiet" },
      `${citation.title || citation.uri}${page}`,
      citation.verified ? el("span", { class: "good" }, "verified") : el("span", { class: "bad" }, "not verified"),
      button("Open", () => open(citation), { class: "quiet", "aria-label": `Open source ${citation.number}` }),
    ),
  );
}

function leftOut(claims) {
  return el(
    "details",
    {},
    el("summary", {}, `${claims.length} left out`),
    el("ul", {}, claims.map((claim) => el("li", {}, claim.text, el("p", { class: "quiet" }, claim.problems.join("; "))))),
  );
}

function footer(answer) {
  const usage = answer.usage;
  const parts = answer.confidence === null ? [] : [`confidence ${Math.round(answer.confidence * 100)} %`];
  if (usage?.prompt_tokens) {
    parts.push(`${usage.seconds.toFixed(1)} s`, `${number(usage.prompt_tokens)} tokens read`);
    if (usage.reused_tokens) parts.push(`${number(usage.reused_tokens)} of them known`);
  }
  return el("p", { class: "quiet" }, el("span", { class: `chip ${answer.status}` }, WORDS[answer.status]), parts.join(" · "));
}

/** What the model was shown. */
export function evidenceOf(evidence) {
  return el(
    "details",
    { class: "evidence" },
    el("summary", {}, `Read for it: ${counted(evidence.passages.length, "passage")}, ${counted(evidence.tokens, "token")}`),
    el(
      "ol",
      {},
      evidence.passages.map((one) =>
        el("li", {}, button(one.title || one.uri, () => open(one), { class: "link" }), el("p", { class: "words" }, one.text)),
      ),
    ),
  );
}
