// One machine: its memory as a heat map, its guest, its CPUs, its faults, what it counted.

import { all, get, post, remove } from "./api.js";
import { act, card, confirmed, h, notify, setText, segments } from "./dom.js";
import { counters, cpus, faults } from "./control.js";
import { eventList } from "./events.js";
import { bytes, count, many, nanoseconds } from "./format.js";
import { guest } from "./guest.js";
import { binsFor } from "./heat.js";
import { heatView } from "./heatview.js";
import { startForm } from "./migrations.js";

export function showMachine(part, vmId) {
  const path = `/v1/vms/${encodeURIComponent(vmId)}`;
  const signal = part.signal;
  const concerns = (event) => event.vm_id === vmId;
  const chips = h("ul", { class: "chips", "aria-label": "Configuration" });
  const machine = { vmId, path, signal, vm: null, refresh: () => {} };
  const parts = [memory(machine), guest(machine), migration(machine), counters(), cpus(machine), faults(machine)];
  const name = h("span", { class: "quiet" });
  const drop = h("button", { class: "danger", onclick: () => act(drop, async () => {
    if (!(await confirmed(`Delete ${vmId}?`, "Its memory, logs and workloads are gone; its migrations end.", "Delete"))) return;
    await remove(path);
    location.hash = "#/";
  }) }, "Delete VM");

  part.root.append(
    h("div", { class: "head" }, h("h1", {}, vmId), name, h("span", { class: "grow" }), drop),
    chips,
    h("div", { class: "cards" }, parts[0].node,
      h("div", { class: "column" }, parts.slice(1, 4).map((each) => each.node)),
      h("div", { class: "column" }, parts.slice(4).map((each) => each.node),
        card("Events", "", [], eventList(part, concerns, 12, false).node))),
  );

  machine.refresh = part.repeat(async () => {
    const [vm, clock, units, workloads] = await Promise.all([
      get(path, { signal }),
      get(`${path}/clock`, { signal }),
      all(`${path}/cpus`, "cpus", { signal }),
      all(`${path}/workloads`, "workloads", { signal }),
    ]);
    const now = { vm, clock, units, workloads };
    machine.vm = vm;
    setText(name, vm.name);
    describe(chips, now);
    await Promise.all(parts.map((each) => each.update(now)));
  }, 1000, concerns);
}

function describe(chips, { vm, clock }) {
  const settings = [
    ["page", bytes(vm.page_size)],
    ["vCPUs", vm.vcpus],
    ["host CPUs", vm.cpus],
    ["kernel", vm.kernel],
    ["accelerator", vm.features.hacdbs ? "HACDBS" : "none"],
    ["DBM", vm.features.dbm ? "on" : "off"],
    ["manual protect", vm.manual_dirty_log_protect2],
    ["split chunk", vm.eager_split_chunk_size ? bytes(vm.eager_split_chunk_size) : "0"],
    ["seed", vm.seed],
    ["virtual clock", nanoseconds(clock.now_ns)],
  ];
  const text = JSON.stringify(settings);
  if (chips.dataset.settings === text) return;
  chips.dataset.settings = text;
  chips.replaceChildren(...settings.map(([name, value]) => h("li", {}, `${name} `, h("b", {}, value))));
}

function memory(machine) {
  const map = heatView(() => machine.refresh());
  const slots = h("select", { "aria-label": "Memslot" });
  const figures = h("span", { class: "quiet" });
  const empty = h("p", { class: "empty" }, "This VM has no memslot.");
  const outcome = h("p", { class: "quiet", role: "status", id: "outcome" });
  const modes = segments("What is drawn", [["dirty", "Dirty log"], ["stage2", "Stage 2"]], (mode) => map.view(mode));

  const slotPath = () => `${machine.path}/memslots/${slots.value}`;
  const call = (text, work) => h("button", { type: "button", onclick: (event) => act(event.currentTarget, async () => {
    setText(outcome, summary(await work()));
    machine.refresh();
  }) }, text);
  const take = call("Get dirty log", () => post(`${slotPath()}/dirty-log/get?format=summary`));
  const clear = call("Clear all", () => {
    const { npages } = machine.vm.memslots.find((slot) => String(slot.slot) === slots.value);
    return post(`${slotPath()}/dirty-log/clear`, { page_ranges: [[0, npages]] });
  });
  const body = h("div", {}, map.node,
    h("div", { class: "tools" }, take, clear, outcome));
  slots.addEventListener("change", () => map.reset());

  return {
    node: card("Memory", "", [figures, slots, modes], body, empty),
    async update({ vm, clock }) {
      body.hidden = vm.memslots.length === 0;
      empty.hidden = !body.hidden;
      slots.hidden = vm.memslots.length < 2;
      const names = vm.memslots.map((slot) => String(slot.slot));
      if (names.join() !== [...slots.options].map((option) => option.value).join()) {
        const chosen = slots.value;
        slots.replaceChildren(...names.map((name) => h("option", { value: name }, `slot ${name}`)));
        if (names.includes(chosen)) slots.value = chosen;
      }
      const slot = vm.memslots.find((each) => String(each.slot) === slots.value);
      if (!slot) return setText(figures, "");
      take.disabled = clear.disabled = slot.dirty_count === null;
      setText(figures, `${bytes(slot.memory_size)} at ${slot.guest_phys_addr}, ${slot.dirty_count === null ? "no dirty log" : `${count(slot.dirty_count)} dirty`}`);
      const place = `${slotPath()}/heat?bins=${binsFor(map.width())}${map.query()}`;
      map.update(await get(place, { signal: machine.signal }), slot.base_gfn, clock.now_ns);
    },
  };
}

/** What a get or a clear did, in a sentence. */
function summary({ dirty_count: dirty, remaining_count: left, accelerator, software }) {
  const taken = `${many(dirty, "dirty page")}, ${count(left)} left.`;
  if (!accelerator) return `${taken} A copy: nothing was cleaned.`;
  const errno = accelerator.errno ? ` (${accelerator.errno}${accelerator.error ? ` after ${accelerator.error.reason}` : ""})` : "";
  return `${taken} CPU ${accelerator.cpu} ${accelerator.outcome}${errno}: hardware ${count(accelerator.cleaned)}, software ${count(software.pages)}.`;
}

function migration(machine) {
  const form = startForm(async (given) => {
    const started = await post("/v1/migrations", { vm_id: machine.vmId, ...given });
    notify(`${started.migration_id} has begun.`);
    location.hash = `#/migrations/${encodeURIComponent(started.migration_id)}`;
  });
  return { node: card("Migrate", "", [], form), update() {} };
}

