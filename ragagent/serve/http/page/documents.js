// The documents: brought in by drag and drop, followed while they are read, removed and brought back.

import { events, get, post, query, remove, upload } from "./api.js";
import { button, counted, el, field, fill, notice, number } from "./dom.js";
import { open } from "./source.js";

const PAGE = 50;

export async function documents(main) {
  const name = el("input", { type: "search", name: "name", oninput: () => later(first) });
  const list = el("ul", { class: "documents" });
  const count = el("p", { class: "quiet", role: "status" });
  const more = button("More", next, { hidden: true });
  const jobs = el("section", { "aria-label": "Ingests" });
  const files = el("input", { type: "file", multiple: true, id: "files", onchange: () => (send(named(files.files)), (files.value = "")) });
  const drop = el("div", { class: "drop" }, el("label", { for: "files" }, "Add files"), files, el("p", {}, "or drop files and folders here"));
  let cursor = null;
  let timer = 0;

  for (const kind of ["dragenter", "dragover"]) drop.addEventListener(kind, (event) => (event.preventDefault(), drop.classList.add("over")));
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", async (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    send(await dropped(event.dataTransfer));
  });
  fill(main, el("h1", {}, "Documents"), drop, jobs, field("Name contains", name), count, list, more);
  await Promise.all([first(), running()]);

  function later(work) {
    clearTimeout(timer);
    timer = setTimeout(work, 250);
  }

  async function first() {
    fill(list);
    cursor = null;
    await next();
  }

  async function next() {
    try {
      const page = await get(`api/documents${query({ limit: PAGE, cursor, name: name.value })}`);
      list.append(...page.documents.map(row));
      cursor = page.next_cursor;
      more.hidden = !cursor;
      count.textContent = counted(page.total, "document");
    } catch (error) {
      notice(error.message);
    }
  }

  function row(one) {
    const place = { document_id: one.id, title: one.title, uri: one.uri, page: null, start: 0, end: 0 };
    const facts = [one.media_type, counted(one.characters, "character"), one.pages ? counted(one.pages, "page") : "", one.acl.length ? `for ${one.acl.join(", ")}` : ""];
    const item = el(
      "li",
      {},
      el("div", {}, button(one.title || one.uri, () => open(place), { class: "link" }), el("p", { class: "quiet" }, one.uri), el("p", { class: "quiet" }, facts.filter(Boolean).join(" · "))),
      one.deletable && button("Delete", () => drops(one, item), { "aria-label": `Delete ${one.title || one.uri}` }),
    );
    return item;
  }

  async function drops(one, item) {
    const removed = await remove(`api/documents/${encodeURIComponent(one.id)}`);
    item.remove();
    notice(`“${one.title || one.uri}” is deleted.`, button("Undo", () => back(removed)));
  }

  async function back(removed) {
    await post(`api/removed/${encodeURIComponent(removed.id)}/restore`);
    notice(`“${removed.title || removed.uri}” is back.`);
    await first();
  }

  async function running() {
    const known = await get("api/jobs?limit=5").catch(() => ({ jobs: [] }));
    for (const job of known.jobs) if (["queued", "running"].includes(job.state)) follow(job);
  }

  async function send(chosen) {
    if (!chosen.length) return;
    const bar = el("progress", { max: "1", value: 0, "aria-label": "Sent" });
    const sending = el("div", { class: "job" }, `Sending ${counted(chosen.length, "file")} `, bar);
    jobs.prepend(sending);
    try {
      follow(await upload("api/uploads", chosen, (share) => (bar.value = share)));
    } catch (error) {
      notice(error.message);
    }
    sending.remove();
  }

  async function follow(job) {
    const box = el("div", { class: "job" });
    jobs.prepend(box);
    drawn(box, job);
    try {
      for await (const event of events(`api/jobs/${encodeURIComponent(job.id)}/events`)) drawn(box, event.body);
    } catch (error) {
      notice(error.message);
    }
    if (box.isConnected) await first();
  }
}

function drawn(box, job) {
  const label = job.source ?? (job.files.length === 1 ? job.files[0] : counted(job.files.length, "file"));
  const bar = el("progress", job.total ? { max: job.total, value: job.done, "aria-label": job.stage } : { "aria-label": job.stage || "waiting" });
  const ended = !["queued", "running"].includes(job.state);
  fill(
    box,
    el("strong", {}, label),
    ` ${job.state} `,
    !ended && [bar, ` ${job.stage} ${job.total ? `${number(job.done)} of ${number(job.total)}` : ""} `, button("Cancel", () => post(`api/jobs/${encodeURIComponent(job.id)}/cancel`))],
    job.error && el("p", { class: "warn" }, job.error),
    job.report && reported(job.report),
  );
}

function reported(report) {
  const done = ["added", "updated", "unchanged", "failed"].filter((key) => report[key]).map((key) => `${number(report[key])} ${key}`);
  return el(
    "div",
    {},
    el("p", { class: "quiet" }, `${done.join(", ") || "nothing to do"}, ${report.seconds.toFixed(1)} s`),
    report.failures.length > 0 && el("ul", { class: "failures" }, report.failures.map((one) => el("li", {}, el("strong", {}, one.name), `: ${one.reason}`))),
  );
}

function named(files) {
  return [...files].map((file) => ({ file, name: file.webkitRelativePath || file.name }));
}

/** What was dropped, folders with all that is in them. */
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return named(transfer.files);
  return (await Promise.all(entries.map(inside))).flat();
}

async function inside(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [{ file, name: entry.fullPath.replace(/^\//, "") }];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return (await Promise.all(found.map(inside))).flat();
    found.push(...some);
  }
}
