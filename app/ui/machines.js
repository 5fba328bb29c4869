// All VMs, and the making of one.

import { all, post } from "./api.js";
import { act, card, choice, field, h, submits, table } from "./dom.js";
import { bytes, count, many } from "./format.js";
import { apply, DEMO } from "./scenarios.js";

const SIZES = ["4MiB", "64MiB", "1GiB", "8GiB", "64GiB", "128GiB"].map((size) => [size, size.replace(/(\d)([MG])/, "$1 $2")]);

export const link = (vmId) => `#/vms/${encodeURIComponent(vmId)}`;

export function showMachines(part) {
  const list = table("VMs", [
    { name: "VM", node: (vm) => h("a", { href: link(vm.vm_id) }, vm.vm_id) },
    { name: "Name", text: (vm) => vm.name || "–" },
    { name: "Memory", number: true, text: (vm) => bytes(vm.memslots.reduce((sum, slot) => sum + slot.memory_size, 0)) },
    { name: "Dirty", number: true, text: (vm) => count(vm.memslots.reduce((sum, slot) => sum + (slot.dirty_count ?? 0), 0)) },
    { name: "CPUs", number: true, text: (vm) => vm.cpus },
    { name: "Faults", number: true, text: (vm) => vm.faults.length },
    { name: "Hardware cleaned", number: true, text: (vm) => count(vm.counters.accelerator_cleaned_pages) },
    { name: "Software cleaned", number: true, text: (vm) => count(vm.counters.software_pages) },
  ], (vm) => vm.vm_id, "No VM yet. Make one below.");

  const form = submits(
    h("form", { class: "grid", id: "create" },
      field("Name", h("input", { name: "name", maxlength: "128", placeholder: "src" })),
      field("Memory", choice("size", SIZES, "1GiB")),
      field("Backing", choice("backing", [["page", "pages"], ["2MiB", "2 MiB blocks"], ["1GiB", "1 GiB blocks"]], "page")),
      field("Manual protect", choice("protect", [["0", "off"], ["1", "on"], ["3", "on, initially set"]], "0")),
      field("Host CPUs", h("input", { name: "cpus", type: "number", min: "1", max: "64", value: "4", required: true })),
      field("Kernel", choice("kernel", [["fixed", "fixed"], ["v1", "v1, as posted"]], "fixed")),
      field("Seed", h("input", { name: "seed", type: "number", min: "0", value: "0", required: true })),
      field("Accelerator", choice("hacdbs", [["yes", "HACDBS"], ["no", "software only"]], "yes")),
      h("button", { class: "main" }, "Make VM")),
    async (given) => {
      const vm = await post("/v1/vms", {
        name: given.name,
        cpus: Number(given.cpus),
        vcpus: 2,
        seed: Number(given.seed),
        kernel: given.kernel,
        manual_dirty_log_protect2: Number(given.protect),
        features: { dbm: true, hacdbs: given.hacdbs === "yes" },
        memslots: [{
          slot: 0,
          guest_phys_addr: "0x40000000",
          memory_size: given.size,
          flags: ["LOG_DIRTY_PAGES"],
          ...(given.backing === "page" ? {} : { backing: given.backing }),
        }],
      });
      location.hash = link(vm.vm_id);
    },
  );

  const first = welcome();
  const heading = h("h1", {}, "VMs");
  const total = h("span", { class: "quiet" });
  part.root.append(
    h("div", { class: "head" }, heading, total),
    first,
    h("div", { class: "cards" }, card("All sessions", "", [], list.node), card("New VM", "", [], form)),
  );
  part.repeat(async () => {
    const vms = await all("/v1/vms?session_id=-", "vms", { signal: part.signal });
    total.textContent = many(vms.length, "VM");
    list.update(vms);
    first.hidden = vms.length > 0;
  }, 2000, (event) => event.type !== "migration");
}

/** What a first visit reads. */
function welcome() {
  const demo = h("button", { class: "main", type: "button", onclick: () => act(demo, () => apply(DEMO)) }, "Run the demo");
  const text = (words) => h("p", {}, words);
  return h("section", { class: "card welcome", "aria-labelledby": "welcome", hidden: true },
    h("h2", { id: "welcome" }, "Virtual machines that track their dirty pages"),
    text("This service simulates KVM on arm64 and its dirty log: which guest pages were written since they were last read. A live migration sends these pages again and again, until few enough are left to stop the guest."),
    text("FEAT_HACDBS is a unit of the CPU that cleans the log in place of software. No silicon with it is on sale: here you can migrate with it, break it, unplug its CPU, and see whether a page is lost."),
    h("p", { class: "tools" }, demo, h("a", { href: "#/scenarios" }, "All scenarios"), h("a", { href: "/docs" }, "The HTTP API")),
    h("p", { class: "quiet" }, "The demo makes a VM of 256 MiB, migrates it and unplugs two of its three CPUs on the way. It runs in a session of its own."));
}
