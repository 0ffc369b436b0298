// The frame: which page is shown, the token, light and dark.

import { about } from "./about.js";
import { agent } from "./agent.js";
import { setToken } from "./api.js";
import { ask } from "./ask.js";
import { documents } from "./documents.js";
import { el, field, fill } from "./dom.js";
import { search } from "./search.js";
import { close } from "./source.js";

const PAGES = { ask, search, documents, agent, about };
const THEME = "ragagent-theme";
let main = document.getElementById("main");

async function show() {
  const [, name = "ask", id] = location.hash.split("/").map(decodeURIComponent);
  const page = PAGES[name] ? name : "ask";
  main.dispatchEvent(new Event("left"));
  // A page that is still being loaded writes into its own element, which nobody sees any more.
  const fresh = el("main", { id: "main", tabindex: "-1" });
  main.replaceWith(fresh);
  main = fresh;
  close();
  for (const link of document.querySelectorAll("#pages a")) {
    if (link.getAttribute("href") === `#/${page}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${page[0].toUpperCase()}${page.slice(1)} · ragagent`;
  try {
    await PAGES[page](fresh, id);
  } catch (error) {
    if (error.status !== 401) fresh.append(el("p", { class: "warn", role: "alert" }, error.message));
  }
}

document.addEventListener("token-needed", () => {
  const token = el("input", { type: "password", name: "token", required: true, autocomplete: "off" });
  fill(
    main,
    el("h1", {}, "A token is needed"),
    el("p", {}, "Make one on the machine that serves this page: ", el("code", {}, "ragagent token create NAME")),
    el("form", { onsubmit: (event) => (event.preventDefault(), setToken(token.value.trim()), show()) }, field("Token", token), el("button", { type: "submit", class: "main" }, "Go on")),
  );
  token.focus();
});

function theme(name) {
  if (name) document.documentElement.dataset.theme = name;
}

document.getElementById("theme").addEventListener("click", () => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
  const next = now === "dark" ? "light" : "dark";
  localStorage.setItem(THEME, next);
  theme(next);
});
theme(localStorage.getItem(THEME));
document.querySelector(".skip").addEventListener("click", (event) => (event.preventDefault(), main.focus()));
addEventListener("hashchange", show);
show();
