// Scenarios: the builtin ones, applying one to a session, and its steps played back.

import { all, call, get, post } from "./api.js";
import { act, card, confirmed, field, h, keyed, setText, table } from "./dom.js";
import { count } from "./format.js";
import { link as machineLink } from "./machines.js";
import { link as migrationLink, saveReport } from "./migrations.js";

const PLAY_MS = 1200;
const PACE_MS = 250;
const MOST_CHARS = 600;
const TONES = { passed: "good", failed: "bad", running: "quiet" };

/** What the first visit plays: CPUs are unplugged under a live migration, and no page is lost. */
export const DEMO = "cpu-unplugged-mid-migration";

export const link = (sessionId) => `#/scenarios/${encodeURIComponent(sessionId)}`;

/** Apply a builtin scenario to a session of its own, and go there; a migration in it is slow enough to be watched. */
export async function apply(name) {
  const { document: plain } = await get(`/v1/scenarios/${encodeURIComponent(name)}`);
  const sessionId = `ui-${name}`.slice(0, 63);
  if (!(await isFree(sessionId))) return;
  const body = plain.migration ? { ...plain, migration: { ...plain.migration, pace_ms: PACE_MS } } : plain;
  await call("PUT", `/v1/sessions/${sessionId}/scenario`, body);
  location.hash = link(sessionId);
}

/** Make the session; if it is there and has machines, ask before they are deleted. */
async function isFree(sessionId) {
  try {
    await post("/v1/sessions", { session_id: sessionId });
    return true;
  } catch (error) {
    if (error.code !== "session_exists") throw error;
  }
  const { vm_count: machines } = await get(`/v1/sessions/${sessionId}`);
  if (machines && !(await confirmed(`Reset session ${sessionId}?`, `It has ${count(machines)} VMs of an earlier run, which are deleted.`, "Reset and run"))) return false;
  await post(`/v1/sessions/${sessionId}/reset`);
  return true;
}

export function showScenarios(part) {
  const applied = table("Applied scenarios", [
    { name: "Session", node: (each) => h("a", { href: link(each.session_id) }, each.session_id) },
    { name: "Scenario", text: (each) => each.scenario },
    { name: "Outcome", node: () => h("span", { class: "state" }), change: (node, each) => {
      setText(node, each.verdict);
      node.dataset.tone = TONES[each.verdict];
    } },
  ], (each) => each.session_id, "No session has a scenario.");
  const filter = h("input", { type: "search", placeholder: "postcopy" });
  const list = h("ul", { class: "stories" });
  const show = keyed(list, story, (each) => each.scenario);
  let known = [];
  const select = () => show(known.filter((each) => `${each.scenario} ${each.description}`.toLowerCase().includes(filter.value.toLowerCase())));
  filter.addEventListener("input", select);
  part.root.append(
    h("div", { class: "head" }, h("h1", {}, "Scenarios")),
    h("div", { class: "cards" },
      card("Applied", "", [], applied.node),
      card("Builtin", "", [], h("p", { class: "quiet" }, "Each is a document with VMs, steps and expectations. It runs in a session of its own."), h("form", { class: "row", id: "find" }, field("Find", filter)), list)),
  );
  part.root.querySelector("#find").addEventListener("submit", (event) => event.preventDefault());
  all("/v1/scenarios", "scenarios", { signal: part.signal }).then((scenarios) => {
    known = scenarios;
    select();
  }).catch(() => {});
  part.repeat(async () => {
    const sessions = await all("/v1/sessions", "sessions", { signal: part.signal });
    const outcomes = await Promise.all(sessions.filter((each) => each.scenario !== null).map((each) => outcomeOf(each.session_id, part.signal)));
    applied.update(outcomes.filter(Boolean));
  }, 4000);
}

async function outcomeOf(sessionId, signal) {
  try {
    return await get(`/v1/sessions/${encodeURIComponent(sessionId)}/scenario`, { signal });
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

function story({ scenario, description }) {
  const button = h("button", { type: "button", class: "small", "aria-label": `Run ${scenario}`, onclick: () => act(button, () => apply(scenario)) }, "Run");
  return { node: h("li", {}, h("div", {}, h("b", {}, scenario), h("p", { class: "quiet" }, description)), button) };
}

const json = (value) => {
  const text = JSON.stringify(value, null, 1);
  return text.length > MOST_CHARS ? `${text.slice(0, MOST_CHARS)} …` : text;
};

/** The steps one at a time: forward, back, by a slider or by themselves. */
function playback(signal) {
  const list = h("ol", { class: "steps", start: "0" });
  const slider = h("input", { type: "range", min: "0", max: "0", value: "0", "aria-label": "Step" });
  const detail = h("div", { class: "step", id: "step", role: "status" });
  let steps = [];
  let timer = null;
  const at = () => Number(slider.value);
  const go = (step) => {
    slider.value = String(Math.max(0, Math.min(steps.length - 1, step)));
    draw();
  };
  const halt = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
    play.setAttribute("aria-pressed", "false");
  };
  const play = h("button", { type: "button", "aria-pressed": "false", onclick: () => {
    if (timer) return halt();
    if (at() >= steps.length - 1) go(0);
    play.textContent = "Stop";
    play.setAttribute("aria-pressed", "true");
    timer = setInterval(() => {
      if (at() >= steps.length - 1) halt();
      else go(at() + 1);
    }, PLAY_MS);
  } }, "Play");
  const by = (label, step) => h("button", { type: "button", onclick: () => {
    halt();
    go(at() + step);
  } }, label);
  slider.addEventListener("input", () => {
    halt();
    draw();
  });
  signal.addEventListener("abort", halt);

  function draw() {
    const step = steps[at()];
    if (!step) return;
    [...list.children].forEach((node, index) => {
      node.classList.toggle("later", index > at());
      if (index === at()) node.setAttribute("aria-current", "step");
      else node.removeAttribute("aria-current");
    });
    const block = (name, value) => (value === undefined || value === null ? [] : [h("h3", {}, name), h("pre", {}, json(value))]);
    detail.replaceChildren(
      h("p", {}, h("b", {}, `Step ${at()}: ${step.op}`), ` on ${step.vm}, ${step.verdict}${step.status === null ? "" : `, status ${step.status}`}`),
      ...step.mismatches.map((each) => h("p", { class: "wrong" }, `${each.pointer || "/"} ${each.detail}: expected ${JSON.stringify(each.expected)}, found ${JSON.stringify(each.found)}`)),
      ...block("Action", step.given?.action),
      ...block("Expected", step.given?.expect),
      ...block("Answer", step.body),
    );
  }

  return {
    node: h("div", {}, h("div", { class: "tools" }, by("Back", -1), play, by("Next", 1), slider), h("div", { class: "played" }, list, detail)),
    update(outcomes, given) {
      const wasEmpty = steps.length === 0;
      steps = outcomes.map((each, index) => ({ ...each, given: given[index] }));
      slider.max = String(Math.max(0, steps.length - 1));
      if (list.children.length !== steps.length) {
        list.replaceChildren(...steps.map((step) => h("li", { class: step.verdict }, `${step.op} on ${step.vm}`)));
      }
      if (wasEmpty) draw();
    },
  };
}

export function showScenario(part, sessionId) {
  const path = `/v1/sessions/${encodeURIComponent(sessionId)}/scenario`;
  const title = h("h1", {}, sessionId);
  const verdict = h("p", { class: "verdict", role: "status", id: "verdict" });
  const about = h("p", { class: "quiet" });
  const seen = h("p", { class: "quiet" });
  const machines = h("ul", { class: "chips", "aria-label": "VMs" });
  const wrong = h("ul", { class: "wrong", id: "mismatches" });
  const player = playback(part.signal);
  const steps = card("Steps", "", [], player.node);
  const migration = card("Migration", "", [], h("p", {}, h("a", { href: "#/migrations" }, "")));
  const again = h("button", { type: "button", onclick: () => act(again, async () => {
    if (!(await confirmed(`Reset session ${sessionId}?`, "Its VMs and migrations are deleted, and the scenario is gone.", "Reset"))) return;
    await post(`/v1/sessions/${encodeURIComponent(sessionId)}/reset`);
    location.hash = "#/scenarios";
  }), class: "danger" }, "Reset session");
  part.root.append(
    h("div", { class: "head" }, title, h("span", { class: "quiet" }, `session ${sessionId}`), h("span", { class: "grow" }), saveReport(`${path}/report.html`, sessionId), again),
    verdict, wrong, about, seen, machines, h("div", { class: "cards" }, steps, migration),
  );
  part.repeat(async () => {
    const now = await get(path, { signal: part.signal });
    setText(title, now.scenario);
    setText(about, now.document.description ?? "");
    setText(seen, now.document.seen_in ? `Where this was met: ${now.document.seen_in}` : "");
    setText(verdict, now.problem ? `failed: ${now.problem.detail}` : now.verdict === "passed" ? "passed: all is as expected." : now.verdict);
    verdict.dataset.tone = TONES[now.verdict];
    wrong.replaceChildren(...now.mismatches.map((each) => h("li", {}, `Migration ${each.pointer || "/"} ${each.detail}: expected ${JSON.stringify(each.expected)}, found ${JSON.stringify(each.found)}`)));
    machines.replaceChildren(...now.vms.map(({ key, vm_id: id }) => h("li", {}, `${key} `, h("a", { href: machineLink(id) }, id))));
    steps.hidden = now.steps.length === 0;
    player.update(now.steps, now.document.steps ?? []);
    migration.hidden = now.migration === null;
    if (now.migration) {
      const { migration_id: id, status, reason, iterations } = now.migration;
      const anchor = migration.querySelector("a");
      anchor.href = migrationLink(id);
      setText(anchor, `${id}: ${status}${reason ? `, ${reason}` : ""}, ${count(iterations.length)} passes. Watch it.`);
    }
    return now.verdict === "running";
  }, 500, (event) => event.session_id === sessionId);
}
