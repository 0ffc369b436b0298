// The place beside the page where a source is opened: its page as a picture, or its text, with the passage marked.

import { get, picture, query } from "./api.js";
import { button, el, fill } from "./dom.js";

const AROUND = 1500;
const panel = document.getElementById("source");
let opener = null;
let shown = "";

/** Opens a citation or a hit: {document_id, title, uri, page, start, end}. */
export async function open(place) {
  opener = document.activeElement;
  const name = place.title || place.uri;
  const body = el("div", { class: "source-body", "aria-busy": "true" }, "…");
  const views = place.page === null ? null : el("div", { class: "row" }, view("Page", showPage), view("Text", showText));
  fill(
    panel,
    el("div", { class: "source-head" }, el("h2", {}, name), button("Close", close, { class: "quiet" })),
    el("p", { class: "quiet", title: place.uri }, fileName(place.uri), place.page === null ? "" : `, page ${place.page}`),
    views,
    body,
  );
  panel.hidden = false;
  panel.focus({ preventScroll: true });
  await (place.page === null ? showText() : showPage());

  function view(label, show) {
    return button(label, show, { "data-view": label });
  }

  function put(label, ...children) {
    fill(body, children);
    body.setAttribute("aria-busy", "false");
    for (const one of views?.children ?? []) one.setAttribute("aria-pressed", String(one.dataset.view === label));
    body.querySelector("mark")?.scrollIntoView({ block: "center" });
  }

  async function showPage() {
    try {
      const image = await picture(at(place, "page.png", { start: place.start, end: place.end }));
      release();
      shown = image.url;
      const alt = `Page ${image.headers.get("X-Page") ?? place.page} of ${name}; the cited words are marked on it`;
      const drawn = el("img", { class: "page", src: shown, alt });
      put("Page", drawn);
      await toMarks(drawn, place);
    } catch (error) {
      await showText();
      body.prepend(el("p", { class: "warn" }, `The page cannot be drawn: ${error.message}`));
    }
  }

  async function showText() {
    try {
      const from = Math.max(0, place.start - AROUND);
      const mark = place.end > place.start ? `${place.start}-${place.end}` : null;
      const text = await get(at(place, "text", { start: from, length: place.end - from + AROUND, mark }));
      const pieces = text.pieces.map((piece) => (piece.marked ? el("mark", {}, piece.text) : piece.text));
      put("Text", el("p", { class: "words" }, text.start > 0 && "… ", pieces, text.next_start !== null && " …"));
    } catch (error) {
      put("Text", el("p", { class: "warn" }, error.message));
    }
  }
}

/** Brings what is marked on the picture of a page into sight. */
async function toMarks(drawn, place) {
  if (place.end <= place.start) return;
  const { height, boxes } = await get(at(place, "page", { start: place.start, end: place.end }));
  if (!boxes.length || !drawn.isConnected) return;
  await drawn.decode();
  const top = drawn.offsetTop + (1 - Math.max(...boxes.map((box) => box.top)) / height) * drawn.clientHeight;
  if (top > panel.scrollTop + panel.clientHeight * 0.8) panel.scrollTop = top - panel.clientHeight / 3;
}

function at(place, what, values) {
  return `api/documents/${encodeURIComponent(place.document_id)}/${what}${query(values)}`;
}

function fileName(uri) {
  const last = uri.replace(/\/+$/, "").split("/").pop();
  try {
    return decodeURIComponent(last);
  } catch {
    return last;
  }
}

function release() {
  if (shown) URL.revokeObjectURL(shown);
  shown = "";
}

export function close() {
  if (panel.hidden) return;
  panel.hidden = true;
  fill(panel);
  release();
  if (opener?.isConnected) opener.focus();
}

document.addEventListener("keydown", (event) => event.key === "Escape" && close());
