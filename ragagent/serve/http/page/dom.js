// Elements are built, never parsed: whatever a document or a model says becomes text and nothing else.

/** An element. `attributes` whose name begins with "on" are listeners; false and null leave one out. */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "class") made.className = value;
    else if (key === "value") made.value = value;
    else made.setAttribute(key, value === true ? "" : String(value));
  }
  return fill(made, ...children);
}

/** Puts children into a place instead of what is there; null, undefined and false are none. */
export function fill(place, ...children) {
  place.replaceChildren(...children.flat(Infinity).filter((child) => ![null, undefined, false].includes(child)));
  return place;
}

/** A button; what goes wrong when it is pressed is said. */
export function button(label, onclick, attributes = {}) {
  return el("button", { type: "button", onclick: (event) => said(() => onclick(event)), ...attributes }, label);
}

/** Does something, and says what went wrong. */
export async function said(work) {
  try {
    await work();
  } catch (error) {
    // Where a token is needed the page asks for it.
    if (error.status !== 401) notice(error.message);
  }
}

/** A field with its label; `input` is what is labelled. */
export function field(label, input) {
  return el("label", { class: "field" }, el("span", {}, label), input);
}

export function checkbox(label, attributes = {}) {
  const input = el("input", { type: "checkbox", ...attributes });
  return { input, label: el("label", { class: "check" }, input, label) };
}

export function table(caption, heads, rows) {
  return el(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el(
      "table",
      {},
      el("caption", {}, caption),
      el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell) => el("td", {}, cell))))),
    ),
  );
}

/** Goes to a page by its address after the #; to the one that is shown, anew. */
export function go(address) {
  if (location.hash === address) dispatchEvent(new HashChangeEvent("hashchange"));
  else location.hash = address;
}

/** Says something to whoever sees or hears the page; `action` is a button beside it. */
export function notice(text, action = null) {
  const place = document.getElementById("notice");
  fill(place, el("span", {}, text), action, button("Close", clear, { class: "quiet" }));
  place.classList.add("shown");
  clearTimeout(notice.timer);
  if (!action) notice.timer = setTimeout(clear, 8000);

  function clear() {
    place.classList.remove("shown");
    fill(place);
  }
}

export function number(value) {
  return new Intl.NumberFormat().format(value);
}

/** So many of something; `one` is the word for a single one. */
export function counted(value, one) {
  return `${number(value)} ${one}${value === 1 ? "" : "s"}`;
}

export function bytes(value) {
  if (value === null || value === undefined) return "";
  const units = ["B", "kB", "MB", "GB"];
  let at = 0;
  for (; value >= 1000 && at < units.length - 1; at += 1) value /= 1000;
  return `${value.toFixed(at && value < 10 ? 1 : 0)} ${units[at]}`;
}

export function when(seconds) {
  return new Date(seconds * 1000).toLocaleString();
}
