// Migrations: all of them, one while it runs, and the form that begins one.

import { all, get, post, save } from "./api.js";
import { barKey, convergence } from "./chart.js";
import { act, card, choice, confirmed, field, h, keyed, setText, segments, submits, table } from "./dom.js";
import { bytes, count, many, nanoseconds, words } from "./format.js";
import { link as machineLink } from "./machines.js";

const OVER = new Set(["completed", "failed", "cancelled"]);
const MS = 1_000_000;

export const link = (id) => `#/migrations/${encodeURIComponent(id)}`;

const TONES = { completed: "good", failed: "bad", cancelled: "", running: "busy" };
export const tone = (status) => TONES[status] ?? "busy";

/** Show a status in a cell of a table. */
export function stateColumn(name) {
  return { name, node: () => h("span", { class: "state" }), change: (node, { status, reason }) => {
    setText(node, reason ? `${status}, ${words(reason)}` : status);
    node.dataset.tone = tone(status);
  } };
}

/** The fields of a migration that the page offers. */
export function migrationFields() {
  return [
    field("Bandwidth, Gbit/s", h("input", { name: "gbits", type: "number", min: "0.001", max: "8000", step: "any", value: "10", required: true })),
    field("Downtime limit, ms", h("input", { name: "downtime", type: "number", min: "0", step: "any", value: "10", required: true })),
    field("Most passes", h("input", { name: "passes", type: "number", min: "1", max: "1000", value: "30", required: true })),
    field("Then", choice("strategy", [["switch_over", "switch over"], ["cancel", "cancel"]], "switch_over")),
    field("Clear", choice("order", [["before_copy", "before the copy"], ["after_copy", "after it (hazard)"]], "before_copy")),
    field("Auto-converge", choice("converge", [["", "off"], ["on", "throttle the guest"]], "")),
    field("Pace, ms a pass", h("input", { name: "pace", type: "number", min: "0", max: "10000", value: "250", required: true })),
  ];
}

/** Read those fields: what a migration is, and at which pace it runs. */
export function migrationOf(given) {
  return {
    migration: {
      bandwidth_bytes_per_second: Math.round((Number(given.gbits) * 1e9) / 8),
      downtime_limit_ns: Math.round(Number(given.downtime) * MS),
      max_iterations: Number(given.passes),
      timeout_strategy: given.strategy,
      clear_order: given.order,
      auto_converge: given.converge ? {} : null,
    },
    pace_ms: Number(given.pace),
  };
}

export function startForm(begin) {
  return submits(h("form", { class: "grid", id: "migrate" }, migrationFields(), h("button", { class: "main" }, "Start migration")), (given) => {
    const { migration, pace_ms } = migrationOf(given);
    return begin({ ...migration, pace_ms });
  });
}

export function showMigrations(part) {
  const list = table("Migrations", [
    { name: "Migration", node: (m) => h("a", { href: link(m.migration_id) }, m.migration_id) },
    { name: "VM", node: (m) => h("a", { href: machineLink(m.vm_id) }, m.vm_id) },
    stateColumn("Status"),
    { name: "Passes", number: true, text: (m) => count(m.iteration_count) },
    { name: "Pages lost", number: true, text: (m) => count(m.lost_pages) },
  ], (m) => m.migration_id, "No migration yet. A VM's own page begins one; a preset brings its VM.");

  const presets = h("div", { class: "cards" });
  const show = keyed(presets, preset, (each) => each.preset);
  part.root.append(h("div", { class: "head" }, h("h1", {}, "Migrations")), h("div", { class: "cards" }, card("All sessions", "", [], list.node)), presets);
  get("/v1/migration-presets", { signal: part.signal }).then((answer) => show(answer.presets)).catch(() => {});
  part.repeat(async () => list.update(await all("/v1/migrations?session_id=-", "migrations", { signal: part.signal })), 2000, (event) => event.type === "migration");
}

function preset({ preset: name, description, vm }) {
  const button = h("button", { class: "main", type: "button", onclick: () => act(button, async () => {
    const made = await post("/v1/vms", { ...vm, name });
    const begun = await post("/v1/migrations", { vm_id: made.vm_id, preset: name, pace_ms: 250 });
    location.hash = link(begun.migration_id);
  }) }, "Make its VM and run it");
  return { node: card(`Preset: ${words(name)}`, "two", [button], h("p", { class: "quiet" }, description)) };
}

const COLUMNS = [
  { name: "Pass", number: true, text: (row) => row.iteration },
  { name: "Phase", text: (row) => row.phase },
  { name: "Began", number: true, text: (row) => nanoseconds(row.started_ns) },
  { name: "Took", number: true, text: (row) => nanoseconds(row.duration_ns) },
  { name: "Dirty pages", number: true, text: (row) => count(row.dirty_pages) },
  { name: "Sent", number: true, text: (row) => bytes(row.sent_bytes) },
  { name: "Left, pages", number: true, text: (row) => count(row.remaining_pages) },
  { name: "Throttle", number: true, text: (row) => `${row.throttle_percent} %` },
  { name: "Get", number: true, text: (row) => nanoseconds(row.get_ns) },
  { name: "Clear", number: true, text: (row) => nanoseconds(row.clear_ns) },
  { name: "Stall", number: true, text: (row) => nanoseconds(row.guest_stall_ns) },
  { name: "Hardware", number: true, text: (row) => count(row.hardware_cleaned) },
  { name: "Software", number: true, text: (row) => count(row.software_cleaned) },
];

/** The commands that a running migration may be given, and in which state. */
const COMMANDS = [
  { name: "switch-over", label: "Switch over", isPossible: ({ status }) => status === "active" },
  { name: "continue", label: "Continue", isPossible: ({ status }) => status === "pre-switchover" },
  { name: "start-postcopy", label: "Start post-copy", isPossible: ({ status, spec }) => status === "active" && spec.postcopy !== null },
  { name: "pause", label: "Pause post-copy", isPossible: ({ status }) => status === "postcopy-active" },
  { name: "resume", label: "Resume post-copy", isPossible: ({ status }) => status === "postcopy-paused" },
];

/** What happened beside the passes, a sentence each. */
function happened({ changes, changed_slots, scheduled, postcopy, verification }) {
  const said = [];
  for (const { iteration, command, settings, by } of changes) {
    const given = Object.entries(settings).filter(([, value]) => value !== null).map(([name, value]) => `${words(name)}${typeof value === "number" ? ` ${count(value)}` : ""}`);
    said.push(`Pass ${iteration}: ${[command && words(command), ...given].filter(Boolean).join(", ")}, by ${by === "call" ? "a call" : "the schedule"}.`);
  }
  for (const { slot, change, now_ns } of changed_slots) said.push(`Slot ${slot}: ${words(change)}, at ${nanoseconds(now_ns)}.`);
  for (const { op, at, reached } of scheduled) if (!reached) said.push(`Never reached: ${words(op)} at ${Object.entries(at).filter(([, value]) => value !== null).map(([name, value]) => `${name} ${value}`).join(", ")}.`);
  if (postcopy) {
    const { requests, requested_pages, background_pages, blocked_ns, pauses, guest_lost } = postcopy;
    said.push(`Post-copy: ${many(requests, "request")} fetched ${many(requested_pages, "page")}, the stream sent ${many(background_pages, "page")}, the guest was kept for ${nanoseconds(blocked_ns)}${pauses ? `, the link failed ${pauses === 1 ? "once" : `${pauses} times`}` : ""}.${guest_lost ? " The guest is lost." : ""}`);
  }
  if (verification.unneeded_pages) said.push(`${many(verification.unneeded_pages, "page")} the guest had given up.`);
  return said;
}

export function showMigration(part, id) {
  const path = `/v1/migrations/${encodeURIComponent(id)}`;
  const machine = h("a", { href: "#/" });
  const cancel = h("button", { class: "danger", type: "button", onclick: () => act(cancel, async () => {
    if (await confirmed(`Cancel ${id}?`, "It ends, and what was sent is lost.", "Cancel it")) await post(`${path}/cancel`);
  }) }, "Cancel migration");
  const keep = saveReport(`${path}/report.html`, id);
  const verdict = h("p", { class: "verdict", role: "status", id: "verdict" });
  const chart = h("div", { id: "chart" });
  const now = { report: null, isLogarithmic: true };
  const draw = () => now.report && chart.replaceChildren(convergence(now.report, now.isLogarithmic));
  const scales = segments("Scale", [["log", "Log"], ["linear", "Linear"]], (name) => {
    now.isLogarithmic = name === "log";
    draw();
  });
  const figures = h("dl", { class: "figures" });
  const story = h("ul", { class: "quiet", id: "story" });
  const commands = COMMANDS.map(({ name, label, isPossible }) => {
    const button = h("button", { type: "button", hidden: true, onclick: () => act(button, () => post(`${path}/${name}`)) }, label);
    return { button, isPossible };
  });
  const rows = table("Passes", COLUMNS, (row) => `${row.iteration}${row.phase}`, "No pass has ended.");
  part.root.append(
    h("div", { class: "head" }, h("h1", {}, id), machine, h("span", { class: "grow" }), commands.map(({ button }) => button), keep, cancel),
    verdict,
    story,
    h("div", { class: "cards" },
      card("Convergence", "two-thirds", [barKey(), scales], chart),
      card("query-migrate", "third", [], figures),
      card("Passes", "", [], rows.node)),
  );
  part.repeat(async () => {
    const report = await get(path, { signal: part.signal });
    const isOver = OVER.has(report.status);
    machine.href = machineLink(report.vm_id);
    setText(machine, report.vm_id);
    cancel.hidden = isOver || report.status.startsWith("postcopy");
    for (const { button, isPossible } of commands) button.hidden = isOver || !isPossible(report);
    story.replaceChildren(...happened(report).map((text) => h("li", {}, text)));
    judge(verdict, report, isOver);
    now.report = report;
    draw();
    showFigures(figures, report);
    rows.update(report.iterations);
    return !isOver;
  }, 500, (event) => event.details.migration_id === id);
}

/** A button that saves a report to keep. */
export function saveReport(path, name) {
  const button = h("button", { type: "button", onclick: () => act(button, () => save(path, `${name}.html`)) }, "Save report");
  return button;
}

/** What it means that no page is lost. */
function proved(status) {
  return status === "completed" ? "Every page arrived as it was at the switch-over." : "No page lost: what differs is in the log, or was still to be sent.";
}

function judge(node, { status, reason, problem, verification, totals }, isOver) {
  const lost = verification.lost_pages;
  const isBad = status === "failed" || (isOver && lost > 0);
  node.dataset.tone = isBad ? "bad" : isOver && status === "completed" ? "good" : "quiet";
  const proof = lost ? ` ${many(lost, "page")} lost.` : verification.verified ? ` ${proved(status)}` : "";
  const why = problem ? `: ${problem.detail}` : reason ? `, ${words(reason)}` : "";
  const time = isOver ? ` ${many(totals.iterations, "pass").replace("passs", "passes")}, ${nanoseconds(totals.total_ns)} in all, guest paused for ${nanoseconds(totals.downtime_ns)}.` : "";
  setText(node, `${status}${why}.${time}${proof}`);
}

const inUnit = (unit) => (value) => `${count(value)} ${unit}`;

/** How the figures of query-migrate are written: QMP's names do not say the units. */
const UNITS = {
  status: String,
  "total-time": inUnit("ms"),
  "setup-time": inUnit("ms"),
  downtime: inUnit("ms"),
  "expected-downtime": inUnit("ms"),
  "cpu-throttle-percentage": inUnit("%"),
  "ram transferred": bytes,
  "ram remaining": bytes,
  "ram total": bytes,
  "ram dirty-pages-rate": inUnit("pages/s"),
  "ram mbps": inUnit("Mbit/s"),
  "ram dirty-sync-count": inUnit("gets"),
};

function showFigures(list, { qmp }) {
  const pairs = [];
  for (const [name, value] of Object.entries(qmp)) {
    if (name === "ram") for (const [inner, figure] of Object.entries(value)) pairs.push([`ram ${inner}`, figure]);
    else pairs.push([name, value]);
  }
  list.replaceChildren(...pairs.filter(([name]) => name in UNITS).map(([name, value]) =>
    h("div", {}, h("dt", { class: "mono" }, name), h("dd", {}, UNITS[name](value)))));
}
