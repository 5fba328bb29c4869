"""What the real guest runs: a server in 64-bit user mode that touches the pages of a list.

It rings a doorbell (a write where no slot is, which KVM returns as an exit for MMIO), finds what to
do in its mailbox when it is entered again, touches each page of the list, and rings once more. User
mode, because it runs natively on every x86 KVM: then the log is marked by real faults on real page
tables. (A hypervisor without VMX or SVM emulates ring 0 and marks the log without any fault.)

Guest virtual addresses are guest physical ones (2 MiB pages up to 8 GiB), so every page below the
control slot can be reached. All that the guest needs lies in one slot that never logs: its accesses to
code, mailbox and page tables, the accessed and dirty bits that the CPU sets there included, mark nothing.

    control slot   +0x0000  PML4   +0x1000  PDPT   +0x2000  8 page directories   +0xa000  code
                   +0xb000  mailbox: count, kind, list of guest physical addresses (8 bytes each)
    behind it      the doorbell
"""

import struct
from enum import IntEnum
from typing import Final

import numpy as np

BASE: Final = 7 << 30
"""Guest physical address of the control slot: beyond every page that can be accessed."""

MAILBOX: Final = 0xB000
"""Where the mailbox lies in the control slot: count and kind first, then the list."""

LIST_ENTRIES: Final = 1 << 16
SIZE_BYTES: Final = MAILBOX + 0x1000 + 8 * LIST_ENTRIES
DOORBELL: Final = BASE + SIZE_BYTES

ADDRESS_BITS: Final = 33
"""Width of the addresses that its page tables map."""

_DIRECTORIES: Final = 8
_PDPT: Final = 0x1000
_DIRECTORY: Final = 0x2000
_CODE: Final = 0xA000

_PRESENT_WRITABLE_USER: Final = 0b111
_ACCESSED_DIRTY_LARGE: Final = 0b1110_0000

_PROGRAM: Final = bytes.fromhex(
    "418811"  # ring:  mov [r9], dl       the doorbell
    "498b08"  #        mov rcx, [r8]      count
    "498b5808"  #      mov rbx, [r8 + 8]  kind
    "498d7010"  #      lea rsi, [r8 + 16] list
    "4885db"  #        test rbx, rbx
    "750b"  #          jnz read
    "48ad"  #   write: lodsq
    "8810"  #          mov [rax], dl
    "48ffc9"  #        dec rcx
    "75f7"  #          jnz write
    "ebe2"  #          jmp ring
    "48ad"  #   read:  lodsq
    "8a00"  #          mov al, [rax]
    "48ffc9"  #        dec rcx
    "75f7"  #          jnz read
    "ebd7"  #          jmp ring
)

# struct kvm_segment: base, limit, selector, type, present, dpl, db, s, l, g, avl, unusable, padding
_SEGMENT: Final = "=QIHBBBBBBBBBx"
_SEGMENT_SIZE: Final = 24
_USER_CODE: Final = struct.pack(_SEGMENT, 0, 0xFFFF_FFFF, 0x0B, 11, 1, 3, 0, 1, 1, 1, 0, 0)
_USER_DATA: Final = struct.pack(_SEGMENT, 0, 0xFFFF_FFFF, 0x13, 3, 1, 3, 1, 1, 0, 1, 0, 0)
_DATA_SEGMENTS: Final = 5  # ds, es, fs, gs, ss follow cs
_CR0_OFFSET: Final = 224  # after eight segments of 24 bytes and two tables of 16

_CR0: Final = 0x8001_0033  # PG, WP, NE, ET, MP, PE
_CR4: Final = 0x20  # PAE
_EFER: Final = 0x500  # LMA, LME
_RFLAGS: Final = 0b10


class Touch(IntEnum):
    """What the guest does to each page of the list; the mailbox's kind."""

    WRITE = 0
    READ = 1


def image() -> bytes:
    """Return the control slot's content up to the mailbox."""
    tables = np.zeros(_CODE // 8, np.uint64)
    tables[0] = BASE + _PDPT | _PRESENT_WRITABLE_USER
    pdpt = tables[_PDPT // 8 :]
    for number in range(_DIRECTORIES):
        pdpt[number] = BASE + _DIRECTORY + 0x1000 * number | _PRESENT_WRITABLE_USER
    large = np.arange(512 * _DIRECTORIES, dtype=np.uint64) << np.uint64(21)
    tables[_DIRECTORY // 8 :] = large | np.uint64(_PRESENT_WRITABLE_USER | _ACCESSED_DIRTY_LARGE)
    return tables.tobytes() + _PROGRAM


def letter(kind: Touch, addresses: bytes) -> bytes:
    """Return the mailbox's content for a list of guest physical addresses, 8 bytes each."""
    return struct.pack("=QQ", len(addresses) // 8, kind) + addresses


def sregs(initial: bytes) -> bytes:
    """Turn the vCPU's first struct kvm_sregs into one of 64-bit user mode with flat segments."""
    out = bytearray(initial)
    out[:_SEGMENT_SIZE] = _USER_CODE
    out[_SEGMENT_SIZE : (1 + _DATA_SEGMENTS) * _SEGMENT_SIZE] = _USER_DATA * _DATA_SEGMENTS
    # cr0, cr2, cr3, cr4, cr8, efer
    struct.pack_into("=6Q", out, _CR0_OFFSET, _CR0, 0, BASE, _CR4, 0, _EFER)
    return bytes(out)


def regs() -> bytes:
    """Return the struct kvm_regs with which the program starts."""
    # rax to rdx, rsi, rdi, rsp, rbp; r8, r9, r10 to r15; rip, rflags
    mailbox = BASE + MAILBOX
    return struct.pack("=18Q", *(0,) * 8, mailbox, DOORBELL, *(0,) * 6, BASE + _CODE, _RFLAGS)
