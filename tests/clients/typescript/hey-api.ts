// @hey-api/openapi-ts with its fetch client.

import { client } from "./generated/hey-api/client.gen.js";
import {
  clearDirtyLog,
  createVm,
  getDirtyLog,
  getMemslot,
  guestWrite,
  listEvents,
  peekDirtyLog,
  setMemslot,
} from "./generated/hey-api/sdk.gen.js";
import { expect, FIRST_GFN, given, LAST_PAGE, SLOT_BYTES, URL } from "./check.js";

client.setConfig({ baseUrl: URL });

const vm = given(
  "the VM",
  (
    await createVm({
      body: {
        manual_dirty_log_protect2: 1,
        memslots: [
          { slot: 0, guest_phys_addr: "0x40000000", memory_size: SLOT_BYTES, flags: ["LOG_DIRTY_PAGES"] },
        ],
      },
    })
  ).data,
);
const path = { vm_id: vm.vm_id, slot: 0 };

expect("its size", given("the slot", (await getMemslot({ path })).data).memory_size, SLOT_BYTES);

await guestWrite({ path, body: { gfns: [FIRST_GFN, FIRST_GFN + LAST_PAGE] } });
await guestWrite({ path, body: { gfn_ranges: [["0x40001", 1]] } });

const got = given("the log", (await getDirtyLog({ path })).data);
expect("the log", got.page_ranges, [
  [0, 2],
  [LAST_PAGE, 1],
]);

const cleared = await clearDirtyLog({
  path,
  body: {
    page_ranges: [
      [0, 2],
      [LAST_PAGE, 1],
    ],
  },
});
expect("what was cleared", given("the clear", cleared.data).dirty_count, 3);
expect("what is left", given("the log", (await peekDirtyLog({ path })).data).page_ranges, []);

const overlap = await setMemslot({
  path: { ...path, slot: 1 },
  body: { guest_phys_addr: "0x40000000", memory_size: "2MiB" },
});
const problem = given("the problem", overlap.error);
expect("the refusal", [problem.status, problem.code, problem.errno, problem.ioctl], [
  409,
  "memslot_overlap",
  "EEXIST",
  "KVM_SET_USER_MEMORY_REGION",
]);
const malformed = await guestWrite({ path, query: { vcpu: -1 }, body: { gfns: [1] } });
const at = given("the parts at fault", malformed.error?.errors)[0];
expect("the part at fault", [at?.in, at?.pointer, at?.value], ["query", "vcpu", "-1"]);

const events = given("the events", (await listEvents({ query: { vm_id: vm.vm_id } })).data);
expect("the first event", events.events[0]?.type, "vm_created");
