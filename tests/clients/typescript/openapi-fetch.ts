// openapi-typescript and openapi-fetch.

import createClient from "openapi-fetch";
import type { paths } from "./generated/openapi-typescript/schema.js";
import { expect, FIRST_GFN, given, LAST_PAGE, SLOT_BYTES, URL } from "./check.js";

// The JSON form, where a body or an answer has others too
const client = createClient<paths, "application/json" | "application/problem+json">({ baseUrl: URL });

const vm = given(
  "the VM",
  (
    await client.POST("/v1/vms", {
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

const slot = given("the slot", (await client.GET("/v1/vms/{vm_id}/memslots/{slot}", { params: { path } })).data);
expect("its size", slot.memory_size, SLOT_BYTES);

await client.POST("/v1/vms/{vm_id}/guest/write", {
  params: { path },
  body: { gfns: [FIRST_GFN, FIRST_GFN + LAST_PAGE] },
});
await client.POST("/v1/vms/{vm_id}/guest/write", { params: { path }, body: { gfn_ranges: [["0x40001", 1]] } });

const got = given("the log", (await client.POST("/v1/vms/{vm_id}/memslots/{slot}/dirty-log/get", { params: { path } })).data);
expect("the log", got.page_ranges, [
  [0, 2],
  [LAST_PAGE, 1],
]);

const cleared = await client.POST("/v1/vms/{vm_id}/memslots/{slot}/dirty-log/clear", {
  params: { path },
  body: {
    page_ranges: [
      [0, 2],
      [LAST_PAGE, 1],
    ],
  },
});
expect("what was cleared", given("the clear", cleared.data).dirty_count, 3);
expect("what is left", given("the log", (await client.GET("/v1/vms/{vm_id}/memslots/{slot}/dirty-log", { params: { path } })).data).page_ranges, []);

const overlap = await client.PUT("/v1/vms/{vm_id}/memslots/{slot}", {
  params: { path: { ...path, slot: 1 } },
  body: { guest_phys_addr: "0x40000000", memory_size: "2MiB" },
});
const problem = given("the problem", overlap.error);
expect("the refusal", [problem.status, problem.code, problem.errno, problem.ioctl], [
  409,
  "memslot_overlap",
  "EEXIST",
  "KVM_SET_USER_MEMORY_REGION",
]);
const malformed = await client.POST("/v1/vms/{vm_id}/guest/write", {
  params: { path, query: { vcpu: -1 } },
  body: { gfns: [1] },
});
const at = given("the parts at fault", malformed.error?.errors)[0];
expect("the part at fault", [at?.in, at?.pointer, at?.value], ["query", "vcpu", "-1"]);

const events = given("the events", (await client.GET("/v1/events", { params: { query: { vm_id: vm.vm_id } } })).data);
expect("the first event", events.events[0]?.type, "vm_created");
