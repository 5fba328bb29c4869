// CPUs with their units, faults, counters.

import { get, post, remove, call } from "./api.js";
import { act, card, choice, field, h, setText, submits, table } from "./dom.js";
import { count, words } from "./format.js";

export function cpus(machine) {
  const toggle = (cpu) => {
    const button = h("button", { class: "small", type: "button", onclick: () => act(button, async () => {
      await call("PATCH", `${machine.path}/cpus/${cpu.cpu}`, { online: button.dataset.online !== "true" });
      machine.refresh();
    }) });
    return button;
  };
  const list = table("Host CPUs", [
    { name: "CPU", text: (cpu) => cpu.cpu },
    { name: "Unit", node: () => h("span", { class: "state" }), change: (node, cpu) => {
      setText(node, cpu.status);
      node.dataset.tone = cpu.online ? "good" : "";
    } },
    { name: "HACDBSBR_EL2", mono: true, text: (cpu) => cpu.hacdbsbr_el2.raw },
    { name: "HACDBSCONS_EL2", mono: true, text: (cpu) => `${cpu.hacdbscons_el2.err_reason} @ ${cpu.hacdbscons_el2.index}` },
    { name: "Runs", number: true, text: (cpu) => count(cpu.runs) },
    { name: "Cleaned", number: true, text: (cpu) => count(cpu.cleaned) },
    { name: "Interrupts", number: true, text: (cpu) => count(cpu.interrupts) },
    { name: "", node: toggle, change: (button, cpu) => {
      button.dataset.online = cpu.online;
      setText(button, cpu.online ? "Unplug" : "Plug in");
      button.setAttribute("aria-label", `${button.textContent} CPU ${cpu.cpu}`);
    } },
  ], (cpu) => cpu.cpu, "No CPU.");
  return { node: card("Host CPUs", "", [], list.node), update: ({ units }) => list.update(units) };
}

export function faults(machine) {
  const disarm = (fault) => {
    const button = h("button", { class: "small", type: "button", "aria-label": `Disarm ${fault.fault_id}`, onclick: () => act(button, async () => {
      await remove(`${machine.path}/faults/${fault.fault_id}`);
      machine.refresh();
    }) }, "Disarm");
    return button;
  };
  const list = table("Armed faults", [
    { name: "Fault", text: (fault) => fault.fault_id },
    { name: "Type", mono: true, text: (fault) => fault.type },
    { name: "When", text: condition },
    { name: "Hits", number: true, text: (fault) => (fault.times ? `${count(fault.hits)} of ${count(fault.times)}` : count(fault.hits)) },
    { name: "", node: disarm },
  ], (fault) => fault.fault_id, "No fault is armed.");

  const types = h("select", { name: "type", "aria-describedby": "fault-meaning" });
  const meaning = h("p", { class: "quiet", id: "fault-meaning" });
  let known = [];
  const explain = () => setText(meaning, known.find((each) => each.type === types.value)?.description ?? "");
  get("/v1/fault-types", { signal: machine.signal }).then(({ fault_types: all }) => {
    known = all.map((each) => ({ type: each.type, description: each.meaning ?? each.description ?? "" }));
    types.replaceChildren(...known.map((each) => h("option", { value: each.type }, each.type)));
    explain();
  }).catch(() => {});
  types.addEventListener("change", explain);

  const form = submits(h("form", { class: "row", id: "arm" },
    field("Type", types),
    field("In", choice("op", [["", "get and clear"], ["get", "get"], ["clear", "clear"]], "")),
    field("Times", h("input", { name: "times", type: "number", min: "1", placeholder: "no end", class: "narrow" })),
    field("Every", h("input", { name: "every", type: "number", min: "1", value: "1", class: "narrow", required: true })),
    h("button", { class: "main" }, "Arm fault")),
  async (given) => {
    await post(`${machine.path}/faults`, {
      type: given.type,
      every: Number(given.every),
      ...(given.times ? { times: Number(given.times) } : {}),
      ...(given.op ? { when: { op: given.op } } : {}),
    });
    machine.refresh();
  });
  return { node: card("Faults", "", [], list.node, form, meaning), update: ({ vm }) => list.update(vm.faults) };
}

function condition({ when, every, after }) {
  const parts = Object.entries(when ?? {}).filter(([, value]) => value !== null).map(([name, value]) => `${name} ${value}`);
  if (after) parts.push(`after ${after}`);
  if (every > 1) parts.push(`every ${every}`);
  return parts.join(", ") || "each call";
}

export function counters() {
  const list = h("dl", { class: "figures" });
  const shown = new Map();
  return {
    node: card("Counters", "", [], list),
    update({ vm }) {
      for (const [name, value] of Object.entries(vm.counters)) {
        if (!shown.has(name)) {
          const figure = h("dd");
          shown.set(name, figure);
          list.append(h("div", {}, h("dt", {}, words(name)), figure));
        }
        const figure = shown.get(name);
        setText(figure, count(value));
        figure.parentNode.classList.toggle("zero", value === 0);
      }
    },
  };
}
