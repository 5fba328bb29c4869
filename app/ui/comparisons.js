// Comparisons: one VM and one migration in several variants, side by side.

import { all, get, post } from "./api.js";
import { amounts, comparison, costs, lineKey } from "./chart.js";
import { card, choice, field, h, submits, table } from "./dom.js";
import { bytes, count, nanoseconds, words } from "./format.js";
import { migrationFields, migrationOf, saveReport, stateColumn } from "./migrations.js";

const link = (id) => `#/comparisons/${encodeURIComponent(id)}`;

export function showComparisons(part) {
  const list = table("Comparisons", [
    { name: "Comparison", node: (c) => h("a", { href: link(c.comparison_id) }, c.comparison_id) },
    stateColumn("Status"),
    { name: "Variants", text: (c) => c.rows.map((row) => row.name).join(", ") },
  ], (c) => c.comparison_id, "No comparison yet. Begin one below.");
  const form = submits(h("form", { class: "grid", id: "compare" },
    field("Memory", choice("size", [["256MiB", "256 MiB"], ["1GiB", "1 GiB"], ["8GiB", "8 GiB"]], "1GiB")),
    field("Writes", choice("kind", [["uniform", "uniform"], ["hot_set", "hot set"], ["zipf", "zipf"], ["sequential", "sequential"]], "hot_set")),
    field("Writes a second", h("input", { name: "rate", type: "number", min: "1", value: "200000", required: true })),
    field("Seed", h("input", { name: "seed", type: "number", min: "0", value: "7", required: true })),
    migrationFields(),
    h("button", { class: "main" }, "Compare")),
  async (given) => {
    const begun = await post("/v1/comparisons", {
      vm: {
        seed: Number(given.seed),
        manual_dirty_log_protect2: 3,
        memslots: [{ slot: 0, guest_phys_addr: "0x40000000", memory_size: given.size }],
        workloads: [{ slot: 0, kind: given.kind, writes_per_second: Number(given.rate) }],
      },
      ...migrationOf(given),
    });
    location.hash = link(begun.comparison_id);
  });
  part.root.append(
    h("div", { class: "head" }, h("h1", {}, "Comparisons")),
    h("div", { class: "cards" },
      card("All sessions", "", [], list.node),
      card("New comparison", "", [], h("p", { class: "quiet" }, "The same guest, seed and migration: with HACDBS, with software cleaning alone, and with a fault in every second call."), form)),
  );
  part.repeat(async () => list.update(await all("/v1/comparisons?session_id=-", "comparisons", { signal: part.signal })), 1500);
}

const COLUMNS = [
  { name: "Variant", text: (row) => row.name },
  stateColumn("Status"),
  { name: "Passes", number: true, text: (row) => count(row.iterations) },
  { name: "Total", number: true, text: (row) => nanoseconds(row.total_ns) },
  { name: "Downtime", number: true, text: (row) => nanoseconds(row.downtime_ns) },
  { name: "Sent", number: true, text: (row) => bytes(row.sent_bytes) },
  { name: "Get", number: true, text: (row) => nanoseconds(row.get_ns) },
  { name: "Clear", number: true, text: (row) => nanoseconds(row.clear_ns) },
  { name: "Guest stall", number: true, text: (row) => nanoseconds(row.guest_stall_ns) },
  { name: "Hardware", number: true, text: (row) => count(row.hardware_cleaned) },
  { name: "Software", number: true, text: (row) => count(row.software_cleaned) },
  { name: "Requeued", number: true, text: (row) => count(row.requeued) },
  { name: "Lost", number: true, text: (row) => count(row.lost_pages) },
];

const text = (value) => {
  if (Array.isArray(value)) return value.length ? value.map(text).join("; ") : "none";
  if (value === null || typeof value !== "object") return String(value);
  const given = Object.entries(value).filter(([, each]) => each !== null);
  return given.map(([name, each]) => `${words(name)} ${text(each)}`).join(", ");
};

/** The settings of each variant that differ from the VM's, a row each. */
function differences({ vm, variants }) {
  return variants.flatMap(({ name, ...settings }) => {
    const own = Object.entries(settings).filter(([, value]) => value !== null);
    const differing = own.filter(([setting, value]) => JSON.stringify(value) !== JSON.stringify(vm[setting]));
    if (!differing.length) return [{ name, setting: "", value: "as the VM", of: "" }];
    return differing.map(([setting, value]) => ({ name, setting: words(setting), value: text(value), of: text(vm[setting]) }));
  });
}

const DIFFERENCES = [
  { name: "Variant", text: (row) => row.name },
  { name: "Setting", text: (row) => row.setting },
  { name: "Value", text: (row) => row.value },
  { name: "The VM has", text: (row) => row.of },
];

/** What all variants share, in a sentence. */
function shared({ vm, migration }) {
  const memory = vm.memslots.reduce((sum, slot) => sum + slot.memory_size, 0);
  const writes = vm.workloads.map((each) => `${words(each.kind)}${each.writes_per_second ? ` at ${count(each.writes_per_second)} writes a second` : ""}`);
  return `Each variant: ${bytes(memory)}, ${writes.join(" and ") || "no workload"}, seed ${vm.seed}, manual protect ${vm.manual_dirty_log_protect2}, `
    + `${bytes(migration.bandwidth_bytes_per_second)} a second, downtime limit ${nanoseconds(migration.downtime_limit_ns)}, at most ${count(migration.max_iterations)} passes.`;
}

export function showComparison(part, id) {
  const path = `/v1/comparisons/${encodeURIComponent(id)}`;
  const rows = table("Variants", COLUMNS, (row) => row.name, "No variant has begun.");
  const differ = table("What differs", DIFFERENCES, (row) => `${row.name} ${row.setting}`, "Nothing differs.");
  const same = h("p", { class: "quiet", id: "shared" });
  const chart = h("div", { id: "chart" });
  const costChart = h("div", { id: "costs" });
  const key = h("div");
  const costKey = h("div");
  const cost = h("div");
  const share = h("div");
  part.root.append(
    h("div", { class: "head" }, h("h1", {}, id), h("span", { class: "grow" }), saveReport(`${path}/report.html`, id)),
    h("div", { class: "cards" },
      card("What is compared", "", [], same, differ.node),
      card("Left after each pass", "two", [key], chart),
      card("Time to get and clear in each pass", "two", [costKey], costChart),
      card("Time to get and clear", "two", [], cost),
      card("Pages cleaned by hardware", "two", [], share),
      card("Side by side", "", [], rows.node)),
  );
  part.repeat(async () => {
    const now = await get(path, { signal: part.signal });
    const names = now.reports.map((report) => report.name);
    same.textContent = shared(now.compared);
    differ.update(differences(now.compared));
    rows.update(now.rows);
    cost.replaceChildren(amounts(now.rows.map((row) => [row.name, row.get_ns + row.clear_ns]), nanoseconds));
    share.replaceChildren(amounts(now.rows.map((row) => [row.name, row.hardware_cleaned]), count));
    chart.replaceChildren(comparison(now.reports, now.compared.vm.page_size));
    costChart.replaceChildren(costs(now.reports));
    key.replaceChildren(lineKey(names));
    costKey.replaceChildren(lineKey(names));
    return now.status === "running";
  }, 500);
}
