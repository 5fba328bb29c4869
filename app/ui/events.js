// What happened, newest first.

import { card, choice, field, h, keyed } from "./dom.js";
import { count, nanoseconds, words } from "./format.js";

const KEPT = 500;
const kept = [];

/** Keep an event, for parts that are opened later. */
export function keep(event) {
  if (event.type === "stale") return;
  kept.unshift(event);
  kept.length = Math.min(kept.length, KEPT);
}

const DETAILS = {
  vm_created: ({ name }) => (name ? `made, named ${name}` : "made"),
  vm_deleted: () => "deleted",
  session_reset: ({ vm_count }) => `session reset, ${count(vm_count)} VMs deleted`,
  session_deleted: ({ vm_count }) => `session deleted with ${count(vm_count)} VMs`,
  fault_hit: (d) => `${d.fault_id} (${d.fault_type}) hit in ${d.op} of slot ${d.slot}${d.cpu === null ? "" : ` on CPU ${d.cpu}`}${d.gfn === null ? "" : `, gfn 0x${d.gfn.toString(16)}`}`,
  fell_back: (d) => `${d.op} of slot ${d.slot} on CPU ${d.cpu}: ${d.outcome}, ${d.errno}${d.reason ? ` after ${d.reason}` : ""}; hardware ${count(d.cleaned)}, software ${count(d.software_pages)} pages`,
  cpu_changed: (d) => `CPU ${d.cpu} ${d.online ? "plugged in" : "unplugged"}`,
  migration: (d) => `${d.migration_id} ${d.status}${d.reason ? ` (${words(d.reason)})` : ""}, pass ${d.iteration}, ${count(d.remaining_pages)} pages left`,
};

/** Make a list of events; `concerns` selects them. Gives the node, and a function that selects again. */
export function eventList(part, concerns, most, namesVm = true) {
  const list = h("ol", { class: "events", reversed: true });
  const empty = h("p", { class: "empty" }, "Nothing yet.");
  const show = keyed(list, (event) => line(event, namesVm), (event) => event.event_id);
  const update = () => {
    const some = kept.filter(concerns).slice(0, most);
    empty.hidden = some.length > 0;
    empty.textContent = kept.length ? "No event of this kind is kept." : "Nothing yet.";
    show(some);
  };
  let isAsked = false;
  part.hear(() => {
    if (isAsked) return;
    isAsked = true;
    requestAnimationFrame(() => {
      isAsked = false;
      update();
    });
  });
  update();
  return { node: h("div", {}, list, empty), update };
}

function subject({ vm_id: vmId, session_id: sessionId }) {
  return vmId ? h("a", { href: `#/vms/${encodeURIComponent(vmId)}` }, vmId) : sessionId;
}

function line(event, namesVm) {
  const said = DETAILS[event.type]?.(event.details) ?? "";
  const id = event.details.migration_id;
  const details = id ? [h("a", { href: `#/migrations/${encodeURIComponent(id)}` }, id), said.slice(id.length)] : [said];
  return { node: h("li", {},
    h("time", { title: "Virtual time of the VM" }, event.vm_id ? nanoseconds(event.now_ns) : "–"),
    h("span", {}, words(event.type)),
    h("span", { class: "what" }, namesVm ? [subject(event), " ", ...details] : details)) };
}

const matches = (event, { type, subject, text }) =>
  (!type || event.type === type)
  && (!subject || [event.vm_id, event.session_id].includes(subject))
  && (!text || JSON.stringify(event).toLowerCase().includes(text.toLowerCase()));

export function showEvents(part) {
  const form = h("form", { class: "row", id: "filter" },
    field("Type", choice("type", [["", "all"], ...Object.keys(DETAILS).map((type) => [type, words(type)])], "")),
    field("VM or session", h("input", { name: "subject", placeholder: "default-1" })),
    field("Text", h("input", { name: "text", type: "search", placeholder: "EAGAIN" })),
    h("button", { type: "reset" }, "Show all"));
  const wanted = () => Object.fromEntries(new FormData(form));
  const list = eventList(part, (event) => matches(event, wanted()), KEPT);
  form.addEventListener("input", () => list.update());
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(list.update));
  part.root.append(
    h("div", { class: "head" }, h("h1", {}, "Events")),
    card("What happened, newest first", "", [], form, list.node),
  );
}
