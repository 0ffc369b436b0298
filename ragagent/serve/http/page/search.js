// Searching, with filters and the reasons of each hit.

import { post } from "./api.js";
import { button, checkbox, counted, el, field, fill, table } from "./dom.js";
import { open } from "./source.js";

export async function search(main) {
  const query = el("input", { type: "search", name: "query", required: true, maxlength: "4000" });
  const where = el("input", { type: "text", name: "where", placeholder: 'type = "pdf" and date >= 2024-01-01' });
  const mode = el("select", { name: "mode" }, ["hybrid", "dense", "sparse"].map((one) => el("option", {}, one)));
  const k = el("input", { type: "number", name: "k", min: "1", max: "100", value: "10" });
  const explain = checkbox("Explain");
  const found = el("section", { "aria-live": "polite", "aria-label": "Results" });
  let without = [];

  fill(
    main,
    el("h1", {}, "Search"),
    el(
      "form",
      { onsubmit: (event) => (event.preventDefault(), (without = []), run()) },
      field("Words or a question", query),
      el("div", { class: "row" }, field("Filter", where), field("Way", mode), field("How many", k), explain.label),
      el("button", { type: "submit", class: "main" }, "Search"),
    ),
    found,
  );
  query.focus();

  async function run() {
    fill(found, el("p", { class: "quiet" }, "Searching…"));
    const body = { query: query.value, k: Number(k.value), mode: mode.value, explain: explain.input.checked, without };
    try {
      show(await post("api/search", { ...body, where: where.value.trim() || null }));
    } catch (error) {
      fill(found, el("p", { class: "warn" }, error.message));
    }
  }

  function show(result) {
    fill(
      found,
      el("p", { class: "quiet" }, `${counted(result.hits.length, "passage")}, ${(result.seconds * 1000).toFixed(0)} ms`),
      result.filters.map((filter) =>
        el("p", {}, "Only ", el("code", {}, filter.where), ` (read from “${filter.words}”) `, button("Take away", () => {
          without.push(filter.name);
          run();
        })),
      ),
      el("ol", { class: "hits" }, result.hits.map(hit)),
      result.steps.length > 0 &&
        table("Steps", ["step", "what came of it", "ms"], result.steps.map((one) => [one.name, one.detail, (one.seconds * 1000).toFixed(1)])),
    );
  }

  function hit(one) {
    const title = one.title || one.uri;
    const place = [title, ...(one.headings[0] === title ? one.headings.slice(1) : one.headings)].join(" › ");
    return el(
      "li",
      {},
      button(place + (one.page === null ? "" : `, page ${one.page}`), () => open(one), { class: "link" }),
      el("p", { class: "words clipped" }, one.text),
      el("p", { class: "quiet" }, one.why),
      one.stages.length > 0 &&
        table(`Arithmetic of hit ${one.rank}`, ["stage", "rank", "score", "how"], one.stages.map((stage) => [stage.name, String(stage.rank ?? "–"), stage.score === null ? "–" : stage.score.toPrecision(4), stage.detail])),
    );
  }
}
