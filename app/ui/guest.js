// The guest: single writes, workloads, and virtual time.

import { post, remove } from "./api.js";
import { act, card, choice, field, h, setText, submits, table } from "./dom.js";
import { count, many, nanoseconds, words } from "./format.js";

const KINDS = [
  ["uniform", "uniform"],
  ["sequential", "sequential"],
  ["hot_set", "hot set"],
  ["zipf", "zipf"],
  ["moving", "moving working set"],
  ["replay", "a recorded program"],
];
const RUN_EVERY_MS = 400;
const MS = 1_000_000;

export function guest(machine) {
  const outcome = h("p", { class: "quiet", role: "status", id: "guest-outcome" });
  const list = workloadTable(machine);
  const slot = () => machine.vm?.memslots[0];
  return {
    node: card("Guest", "", [],
      writeForm(machine, slot, outcome),
      h("h3", {}, "Workloads"), list.node, workloadForm(machine, slot),
      h("h3", {}, "Virtual time"), runForm(machine, outcome), outcome),
    update: ({ workloads }) => list.update(workloads),
  };
}

function writeForm(machine, slot, outcome) {
  return submits(h("form", { class: "row", id: "write" },
    field("Access", choice("access", [["guest/write", "guest write"], ["guest/read", "guest read"], ["host/write", "host write"], ["host/unmap", "host unmap"]], "guest/write")),
    field("First page", h("input", { name: "first", type: "number", min: "0", value: "0", required: true })),
    field("Pages", h("input", { name: "pages", type: "number", min: "1", value: "1024", required: true })),
    h("button", { class: "main" }, "Access")),
  async (given) => {
    const { base_gfn: base } = slot() ?? { base_gfn: 0 };
    const done = await post(`${machine.path}/${given.access}`, { gfn_ranges: [[base + Number(given.first), Number(given.pages)]] });
    setText(outcome, `${many(done.pages, "page")}: ${count(done.newly_dirty)} newly dirty, ${count(done.translation_faults)} translation and ${count(done.permission_faults)} permission faults${done.mmio_exits ? `, ${many(done.mmio_exits, "MMIO exit")}: no memslot is there` : ""}.`);
    machine.refresh();
  });
}

function workloadTable(machine) {
  const stop = (workload) => {
    const button = h("button", { class: "small", type: "button", "aria-label": `Remove ${workload.workload_id}`, onclick: () => act(button, async () => {
      await remove(`${machine.path}/workloads/${workload.workload_id}`);
      machine.refresh();
    }) }, "Remove");
    return button;
  };
  return table("Workloads", [
    { name: "Workload", text: (w) => w.workload_id },
    { name: "Kind", text: (w) => (w.trace ? `${w.trace} trace` : words(w.kind)) },
    { name: "Writes/s", number: true, text: (w) => (w.writes_per_second === null ? "–" : count(w.writes_per_second)) },
    { name: "Written", number: true, text: (w) => count(w.writes) },
    { name: "", node: stop },
  ], (w) => w.workload_id, "The guest writes only on request.");
}

function workloadForm(machine, slot) {
  return submits(h("form", { class: "row", id: "workload" },
    field("Kind", choice("kind", KINDS, "hot_set")),
    field("Writes a second", h("input", { name: "rate", type: "number", min: "1", value: "200000", required: true })),
    h("button", {}, "Add workload")),
  async ({ kind, rate }) => {
    await post(`${machine.path}/workloads`, { slot: slot()?.slot ?? 0, kind, ...fieldsOf(kind, rate, slot()?.npages ?? 1) });
    machine.refresh();
  });
}

function fieldsOf(kind, rate, npages) {
  if (kind === "replay") return { trace: "xz", interval_ns: MS, scale: true };
  const timed = { writes_per_second: Number(rate) };
  if (kind !== "moving") return timed;
  const pages = Math.max(1, Math.floor(npages / 16));
  return { ...timed, set_pages: pages, move_every_writes: Math.max(1, Math.floor(pages / 4)), step_pages: Math.max(1, Math.floor(pages / 8)) };
}

function runForm(machine, outcome) {
  const duration = h("input", { name: "ms", type: "number", min: "0.001", max: "1000000", step: "any", value: "20", required: true });
  const throttle = h("input", { name: "throttle", type: "number", min: "0", max: "99", value: "0", required: true });
  const run = async () => {
    const done = await post(`${machine.path}/guest/run`, {
      duration_ns: Math.round(Number(duration.value) * MS),
      throttle_percent: Number(throttle.value),
    });
    setText(outcome, `Ran for ${nanoseconds(done.guest_ns)}, stalled for ${nanoseconds(done.stalled_ns)}: ${many(done.writes, "write")}, ${count(done.newly_dirty)} newly dirty${done.mmio_exits ? `, ${many(done.mmio_exits, "MMIO exit")}` : ""}.`);
    machine.refresh();
  };
  let timer = null;
  const keep = h("button", { type: "button", "aria-pressed": "false", onclick: () => {
    if (timer) return halt();
    keep.setAttribute("aria-pressed", "true");
    const again = async () => {
      try {
        if (!document.hidden) await run();
        timer = timer && setTimeout(again, RUN_EVERY_MS);
      } catch (error) {
        halt();
        setText(outcome, error.message);
      }
    };
    timer = setTimeout(again, 0);
  } }, "Keep running");
  const halt = () => {
    clearTimeout(timer);
    timer = null;
    keep.setAttribute("aria-pressed", "false");
  };
  machine.signal.addEventListener("abort", halt);
  return submits(h("form", { class: "row", id: "run" },
    field("Milliseconds", duration), field("Throttle, %", throttle),
    h("button", { class: "main" }, "Run guest"), keep), run);
}
