// Comparisons: one VM and one migration in several variants, side by side.

import { all, get, post } from "./api.js";
import { amounts, comparison, lineKey } from "./chart.js";
import { card, choice, field, h, submits, table } from "./dom.js";
import { bytes, count, nanoseconds } from "./format.js";
import { migrationFields, migrationOf, stateColumn } from "./migrations.js";

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

export function showComparison(part, id) {
  const rows = table("Variants", COLUMNS, (row) => row.name, "No variant has begun.");
  const chart = h("div", { id: "chart" });
  const key = h("div");
  const cost = h("div");
  const share = h("div");
  part.root.append(
    h("div", { class: "head" }, h("h1", {}, id)),
    h("div", { class: "cards" },
      card("Left after each pass", "two-thirds", [key], chart),
      card("Time to get and clear", "third", [], cost, h("h3", {}, "Pages cleaned by hardware"), share),
      card("Side by side", "", [], rows.node)),
  );
  part.repeat(async () => {
    const now = await get(`/v1/comparisons/${encodeURIComponent(id)}`, { signal: part.signal });
    rows.update(now.rows);
    cost.replaceChildren(amounts(now.rows.map((row) => [row.name, row.get_ns + row.clear_ns]), nanoseconds));
    share.replaceChildren(amounts(now.rows.map((row) => [row.name, row.hardware_cleaned]), count));
    chart.replaceChildren(comparison(now.reports));
    key.replaceChildren(lineKey(now.reports.map((report) => report.name)));
    return now.status === "running";
  }, 500);
}
