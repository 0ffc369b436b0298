// What there is: status, models, settings.

import { get } from "./api.js";
import { bytes, el, fill, number, table } from "./dom.js";

export async function about(main) {
  const [status, models, settings] = await Promise.all([
    get("api/status"),
    get("api/models"),
    get("api/settings").catch(() => ({ settings: [] })),
  ]);
  const facts = [
    ["Documents", number(status.documents)],
    ["Passages", number(status.chunks)],
    ["Size", bytes(status.size_bytes)],
    ["Language model", status.model],
    ["Embedding model", status.embedder],
    ["You are", status.principal ?? "the owner"],
    ["You may", status.scopes.join(", ")],
    ["Waiting for the model", number(status.model_waiting)],
    ["Ingests", number(status.jobs)],
    ["Version", status.version],
  ];
  fill(
    main,
    el("h1", {}, "About"),
    el("dl", {}, facts.filter(([, value]) => value).map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
    status.findings.length > 0 && el("ul", { class: "warn" }, status.findings.map((one) => el("li", {}, one))),
    table(
      "Models",
      ["name", "kind", "here", "size", "context", "licence"],
      models.models.map((one) => [one.in_use ? el("strong", {}, `${one.name} (in use)`) : one.name, one.kind, one.state, bytes(one.size_bytes), one.context_tokens ? number(one.context_tokens) : "", one.licence]),
    ),
    settings.settings.length > 0 && table("Settings", ["setting", "value", "from"], settings.settings.map((one) => [one.key, one.value, one.origin])),
  );
}
