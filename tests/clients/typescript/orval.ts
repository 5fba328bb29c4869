// orval with its fetch client.

import {
  clearDirtyLog,
  createVm,
  getDirtyLog,
  getMemslot,
  guestWrite,
  listEvents,
  peekDirtyLog,
  setMemslot,
} from "./generated/orval/client.js";
import { expect, FIRST_GFN, given, LAST_PAGE, SLOT_BYTES } from "./check.js";

const made = await createVm({
  manual_dirty_log_protect2: 1,
  memslots: [{ slot: 0, guest_phys_addr: "0x40000000", memory_size: SLOT_BYTES, flags: ["LOG_DIRTY_PAGES"] }],
});
if (made.status !== 201) {
  throw new Error(made.data.detail);
}
const vmId = made.data.vm_id;

const slot = await getMemslot(vmId, 0);
expect("its size", slot.status === 200 && slot.data.memory_size, SLOT_BYTES);

await guestWrite(vmId, { gfns: [FIRST_GFN, FIRST_GFN + LAST_PAGE] });
await guestWrite(vmId, { gfn_ranges: [["0x40001", 1]] });

const got = await getDirtyLog(vmId, 0);
expect("the log", got.status === 200 && got.data.page_ranges, [
  [0, 2],
  [LAST_PAGE, 1],
]);

const cleared = await clearDirtyLog(vmId, 0, {
  page_ranges: [
    [0, 2],
    [LAST_PAGE, 1],
  ],
});
expect("what was cleared", cleared.status === 200 && cleared.data.dirty_count, 3);
const left = await peekDirtyLog(vmId, 0);
expect("what is left", left.status === 200 && left.data.page_ranges, []);

const overlap = await setMemslot(vmId, 1, { guest_phys_addr: "0x40000000", memory_size: "2MiB" });
if (overlap.status === 200 || overlap.status === 201) {
  throw new Error("the overlap was not refused");
}
const problem = overlap.data;
expect("the refusal", [problem.status, problem.code, problem.errno, problem.ioctl], [
  409,
  "memslot_overlap",
  "EEXIST",
  "KVM_SET_USER_MEMORY_REGION",
]);
const malformed = await guestWrite(vmId, { gfns: [1] }, { vcpu: -1 });
if (malformed.status === 200) {
  throw new Error("the vCPU was not refused");
}
const at = given("the parts at fault", malformed.data.errors)[0];
expect("the part at fault", [at?.in, at?.pointer, at?.value], ["query", "vcpu", "-1"]);

const events = await listEvents({ vm_id: vmId });
expect("the first event", events.status === 200 && events.data.events[0]?.type, "vm_created");
