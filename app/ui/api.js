// Calls of the service, with the token where it asks for one, and its stream of events.

import { h } from "./dom.js";

const KEY = "hacdbs-token";
let asking = null;

/** A refusal: the problem document's own words. */
export class Refused extends Error {
  constructor(problem) {
    super(`${problem.title}: ${problem.detail}`);
    this.code = problem.code;
    this.status = problem.status;
  }
}

const tokenNow = () => sessionStorage.getItem(KEY);

function headers(more, token) {
  return token ? { ...more, Authorization: `Bearer ${token}` } : more;
}

/** After a 401: ask for another token, unless another call has asked since this one was sent. */
async function tokenAfter(sent) {
  if (tokenNow() === sent) await askForToken(sent !== null);
}

async function send(method, path, body, options) {
  for (;;) {
    const token = tokenNow();
    const init = { method, headers: headers({ Accept: "application/json" }, token), ...options };
    if (body !== undefined) {
      init.body = JSON.stringify(body);
      init.headers["Content-Type"] = "application/json";
    }
    const answer = await fetch(path, init);
    if (answer.status !== 401) return answer;
    await tokenAfter(token);
  }
}

/** Make a call that succeeds; return the response. */
async function answered(method, path, body, options) {
  let answer;
  try {
    answer = await send(method, path, body, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The service does not answer.");
  }
  if (!answer.ok) throw new Refused(await answer.json());
  return answer;
}

/** Make a call; return the JSON of the response, null where it has none. */
export async function call(method, path, body, options) {
  const text = await (await answered(method, path, body, options)).text();
  return text ? JSON.parse(text) : null;
}

export const get = (path, options) => call("GET", path, undefined, options);
export const post = (path, body) => call("POST", path, body);
export const remove = (path) => call("DELETE", path);

/** Return all items of a list, page by page. */
export async function all(path, name, options) {
  const items = [];
  let token = "";
  do {
    const page = await get(`${path}${path.includes("?") ? "&" : "?"}limit=1000&page_token=${token}`, options);
    items.push(...page[name]);
    token = page.next_page_token;
  } while (token);
  return items;
}

/** Read the stream of events until it is stopped; calls on(event), and state(word). */
export async function follow(on, state, signal) {
  let last = null;
  while (!signal.aborted) {
    try {
      if (last === null) {
        const now = (await get("/v1/events?limit=1", { signal })).last_event_id;
        last = Math.max(0, now - 100);
      }
      const token = tokenNow();
      const answer = await fetch(`/v1/events?after=${last}`, { headers: headers({ Accept: "text/event-stream" }, token), signal });
      if (answer.status === 401) {
        await tokenAfter(token);
        continue;
      }
      if (!answer.ok) throw new Error(String(answer.status));
      state("live");
      for await (const event of eventsOf(answer.body)) {
        last = event.id;
        on(event);
      }
    } catch (error) {
      if (signal.aborted) return;
    }
    state("lost");
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s, 2)));
      if (fields.data) yield { id: Number(fields.id), type: fields.event, ...JSON.parse(fields.data) };
    }
  }
}

/** Fetch a report as a file and have the browser save it: a link could not send the token. */
export async function save(path, name) {
  const answer = await answered("GET", path);
  const url = URL.createObjectURL(await answer.blob());
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Ask for the token, once however many calls want it; say that the one before was wrong. */
function askForToken(wasWrong) {
  asking ??= new Promise((resolve) => {
    const input = h("input", { name: "token", type: "password", required: true, autocomplete: "off" });
    const dialog = h("dialog", { "aria-labelledby": "token-title" },
      h("form", { method: "dialog" },
        h("h2", { id: "token-title" }, "This service asks for its token"),
        wasWrong ? h("p", { class: "wrong", role: "alert" }, "That token is wrong.") : null,
        h("p", { class: "quiet" }, "The value of HACDBS_TOKEN. It stays in this tab."),
        h("label", {}, "Token", input),
        h("div", { class: "actions" }, h("button", { class: "main" }, "Continue"))));
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.addEventListener("close", () => {
      sessionStorage.setItem(KEY, input.value);
      dialog.remove();
      asking = null;
      resolve();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
  return asking;
}
