// What the Go client of openapi-generator is used for: the calls of the other clients.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"

	hacdbs "hacdbs/client"
)

const (
	slotBytes = int64(64 << 30)
	firstGfn  = int64(0x40000)
	lastPage  = slotBytes/4096 - 1
)

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func expect(what string, found, wanted any) {
	if !reflect.DeepEqual(found, wanted) {
		fail(fmt.Errorf("%s: %v, not %v", what, found, wanted))
	}
}

func pointer[T any](value T) *T { return &value }

func address(text string) hacdbs.GuestPhysAddr { return hacdbs.GuestPhysAddr{String: &text} }

func main() {
	configuration := hacdbs.NewConfiguration()
	configuration.Servers = hacdbs.ServerConfigurations{{URL: os.Getenv("HACDBS_URL")}}
	client := hacdbs.NewAPIClient(configuration)
	ctx := context.Background()

	slot := hacdbs.NewSetMemslot(0, address("0x40000000"), hacdbs.MemorySize{Int64: pointer(slotBytes)})
	slot.Flags = []string{"LOG_DIRTY_PAGES"}
	spec := hacdbs.CreateVm{ManualDirtyLogProtect2: pointer(int64(1)), Memslots: []hacdbs.SetMemslot{*slot}}
	vm, _, err := client.VmsAPI.CreateVm(ctx).CreateVm(spec).Execute()
	fail(err)

	made, _, err := client.MemslotsAPI.GetMemslot(ctx, vm.VmId, 0).Execute()
	fail(err)
	expect("its size", made.MemorySize, slotBytes)

	gfns := hacdbs.NewGuestWriteBodyGfns([]hacdbs.GfnsInner{
		{Int64: pointer(firstGfn)}, {String: pointer("0x40001")}, {Int64: pointer(firstGfn + lastPage)},
	})
	write := hacdbs.GuestWriteBodyGfnsAsGuestWriteBody(gfns)
	_, _, err = client.AccessesAPI.GuestWrite(ctx, vm.VmId).GuestWriteBody(write).Execute()
	fail(err)

	ranges := [][]int64{{0, 2}, {lastPage, 1}}
	log, _, err := client.DirtyLogAPI.GetDirtyLog(ctx, vm.VmId, 0).Execute()
	fail(err)
	expect("the log", log.PageRanges, ranges)

	pages := hacdbs.ClearDirtyLogBodyPageRangesAsClearDirtyLogBody(hacdbs.NewClearDirtyLogBodyPageRanges(ranges))
	cleared, _, err := client.DirtyLogAPI.ClearDirtyLog(ctx, vm.VmId, 0).ClearDirtyLogBody(pages).Execute()
	fail(err)
	expect("what was cleared", *cleared.DirtyCount.Get(), int64(3))
	left, _, err := client.DirtyLogAPI.PeekDirtyLog(ctx, vm.VmId, 0).Execute()
	fail(err)
	expect("what is left", left.PageRanges, [][]int64{})

	overlap := hacdbs.SetMemslotBody{
		GuestPhysAddr: address("0x40000000"),
		MemorySize:    hacdbs.MemorySize{String: pointer("2MiB")},
	}
	_, _, err = client.MemslotsAPI.SetMemslot(ctx, vm.VmId, 1).SetMemslotBody(overlap).Execute()
	var refused *hacdbs.GenericOpenAPIError
	if !errors.As(err, &refused) {
		fail(fmt.Errorf("the overlap was not refused: %v", err))
	}
	problem := refused.Model().(hacdbs.Problem)
	expect("the status", problem.Status, int64(409))
	expect("the code", problem.Code, "memslot_overlap")
	expect("the errno", problem.GetErrno(), "EEXIST")
	expect("the ioctl", problem.GetIoctl(), "KVM_SET_USER_MEMORY_REGION")

	events, _, err := client.EventsAPI.ListEvents(ctx).VmId(vm.VmId).Execute()
	fail(err)
	expect("the first event", events.Events[0].Type, hacdbs.EVENTTYPE_VM_CREATED)
}
