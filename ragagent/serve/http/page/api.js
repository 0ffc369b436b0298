// Requests to the server that this page came from, and to no other.

const TOKEN = "ragagent-token";

export class ApiError extends Error {
  constructor(status, body) {
    super(body?.error?.message ?? `the server answered ${status}`);
    this.status = status;
    this.code = body?.error?.code ?? "";
  }
}

export function setToken(text) {
  sessionStorage.setItem(TOKEN, text);
}

function headers(more = {}) {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { ...more, Authorization: `Bearer ${token}` } : more;
}

async function sent(path, options = {}) {
  const answer = await fetch(path, { ...options, headers: headers(options.headers) });
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => null);
  if (answer.status === 401) document.dispatchEvent(new CustomEvent("token-needed"));
  throw new ApiError(answer.status, body);
}

function json(method, body) {
  return { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
}

export async function get(path) {
  return (await sent(path)).json();
}

export async function post(path, body = {}) {
  return (await sent(path, json("POST", body))).json();
}

export async function put(path, body) {
  return (await sent(path, json("PUT", body))).json();
}

export async function remove(path) {
  return (await sent(path, { method: "DELETE" })).json();
}

/** Files by name; `progress` is told the share that has been sent. */
export function upload(path, files, progress) {
  const form = new FormData();
  for (const { file, name } of files) form.append("files", file, name);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", (event) => event.lengthComputable && progress(event.loaded / event.total));
    request.addEventListener("error", () => reject(new ApiError(0, { error: { message: "the server is not there" } })));
    request.addEventListener("load", () => {
      const body = parsed(request.responseText);
      if (request.status < 300) resolve(body);
      else reject(new ApiError(request.status, body));
    });
    request.send(form);
  });
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** A picture as an object URL, and the headers it came with. */
export async function picture(path) {
  const answer = await sent(path);
  return { url: URL.createObjectURL(await answer.blob()), headers: answer.headers };
}

/** The events of a stream, each `{name, body, id}`. `event: error` is thrown. `signal` hangs up. */
export async function* events(path, { body = null, signal = undefined } = {}) {
  const answer = await sent(path, { ...(body ? json("POST", body) : {}), signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const event = eventOf(block);
        if (event?.name === "error") throw new ApiError(200, event.body);
        if (event) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function eventOf(block) {
  const lines = Object.fromEntries(
    block.split("\n").filter((line) => !line.startsWith(":")).map((line) => {
      const at = line.indexOf(": ");
      return [line.slice(0, at), line.slice(at + 2)];
    }),
  );
  return "data" in lines ? { name: lines.event ?? "", body: JSON.parse(lines.data), id: lines.id } : null;
}

export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}
