"""The guest: firmware that fills its memory and writes to random pages, by the timer of its APIC.

It is a ROM of 64 KiB at the end of the address space, where the CPU starts, in place of a BIOS: nothing
else is booted. It enters 32-bit protected mode, makes each page of the memory that it writes to a page
that is not zero, and halts. A thousand times a second the timer wakes it, and it writes one byte to each
of as many pages as its rate asks for. Ticks that it misses while it is throttled are lost, and so are
their writes. Every 16 ticks it sends its count of writes to the debug console, as 4 bytes.

An interrupt handler that never returns needs no `iret`, which KVM emulates in real mode only: where
ring 0 is emulated, as on a KVM without VMX and SVM, it must not be met.
"""

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

BASE: Final = 0x100_0000
"""Where the memory begins that the guest writes to."""

PAGES: Final = 32_768
"""How many pages it has: 128 MiB, a power of two."""

MEMORY_MIB: Final = 144
"""The first 16 MiB stay zero, and QEMU sends them first."""

CONSOLE: Final = 0xE9
"""The port that it reports to."""

REPORT: Final = struct.Struct("<I")
"""A report: the writes so far."""

_ROM_BYTES: Final = 0x1_0000
_CODE: Final = 0xF000  # of the ROM
_ROM: Final = 0xFFFF_0000
_RESET: Final = 0xFFF0
_FACTOR, _ADDEND = 1_664_525, 1_013_904_223
"""Of the linear congruence whose upper bits are the page, as in the program."""
_PAGE_SHIFT: Final = 17

_PROGRAM: Final = bytes.fromhex(
    # start, in real mode:
    "2e660f0116e0f0"  #         lgdt cs:[0xf0e0]
    "2e660f011ee8f0"  #         lidt cs:[0xf0e8]
    "66b811000000"  #           mov eax, 0x11             PE, ET
    "0f22c0"  #                 mov cr0, eax
    "66ea1ff0ffff0800"  #       jmp 8:0xfffff01f
    # in protected mode:
    "b810000000"  #             mov eax, 16
    "8ed8"  #                   mov ds, eax
    "8ed0"  #                   mov ss, eax
    "bc00100000"  #             mov esp, 0x1000
    "bf00000001"  #             mov edi, 0x1000000        every page is not zero
    "b900800000"  #             mov ecx, 32768
    "c6075a"  #           fill: mov byte [edi], 0x5a
    "81c700100000"  #           add edi, 4096
    "e2f5"  #                   loop fill
    "ba0000e0fe"  #             mov edx, 0xfee00000       the APIC
    "c782f0000000ff010000"  #   mov dword [edx+0xf0], 0x1ff       enabled
    "c782e00300000b000000"  #   mov dword [edx+0x3e0], 0xb        divide by 1: ns
    "c7822003000020000200"  #   mov dword [edx+0x320], 0x20020    periodic, vector 32
    "c7828003000040420f00"  #   mov dword [edx+0x380], 1000000    1 ms
    "31db"  #                   xor ebx, ebx              the random number
    "31f6"  #                   xor esi, esi              writes so far
    "31ed"  #                   xor ebp, ebp              thousandths of a write due
    "bf10000000"  #             mov edi, 16               ticks to the next report
    "fb"  #               wait: sti
    "f4"  #                     hlt
    "ebfc"  #                   jmp wait
    "bc00100000"  #       tick: mov esp, 0x1000
    "c782b000000000000000"  #   mov dword [edx+0xb0], 0   end of interrupt
)
_PROGRAM_TICK: Final = bytes.fromhex(
    "81ede8030000"  #     next: sub ebp, 1000
    "721e"  #                   jb done
    "69db0d661900"  #           imul ebx, ebx, 1664525
    "81c35ff36e3c"  #           add ebx, 1013904223
    "89d8"  #                   mov eax, ebx
    "c1e811"  #                 shr eax, 17
    "c1e00c"  #                 shl eax, 12
    "c680000000015b"  #         mov byte [eax+0x1000000], 0x5b
    "46"  #                     inc esi
    "ebda"  #                   jmp next
    "81c5e8030000"  #     done: add ebp, 1000
    "4f"  #                     dec edi
    "75b8"  #                   jnz wait
    "bf10000000"  #             mov edi, 16
    "89f0"  #                   mov eax, esi
    "b904000000"  #             mov ecx, 4
    "e6e9"  #             send: out 0xe9, al
    "c1e808"  #                 shr eax, 8
    "e2f9"  #                   loop send
    "eba3"  #                   jmp wait
)
_TICK: Final = _ROM + 0xF07E
_GDT: Final = 0xF100
_GDT_POINTER: Final = 0xF0E0
_IDT_POINTER: Final = 0xF0E8
_IDT: Final = 0xF120
_VECTOR: Final = 32
_SEGMENTS: Final = struct.pack("<3Q", 0, 0x00CF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF)
"""Null, code, data: flat, and accessed already: a ROM does not take the CPU's mark."""
_JUMP: Final = b"\xe9" + struct.pack("<h", _CODE - _RESET - 3)


def rom(writes_per_second: int) -> bytes:
    """Return the ROM of a guest that writes so often."""
    rate = b"\x81\xc5" + struct.pack("<I", writes_per_second)  # add ebp, writes_per_second
    gate = struct.pack("<4H", _TICK & 0xFFFF, 8, 0x8E00, _TICK >> 16)
    out = bytearray(_ROM_BYTES)
    for at, piece in (
        (_CODE, _PROGRAM + rate + _PROGRAM_TICK),
        (_GDT_POINTER, struct.pack("<HI", len(_SEGMENTS) - 1, _ROM + _GDT)),
        # The table has the gate of the timer alone; it is as if the others lay before it
        (_IDT_POINTER, struct.pack("<HI", 8 * _VECTOR + 7, _ROM + _IDT - 8 * _VECTOR)),
        (_GDT, _SEGMENTS),
        (_IDT, gate),
        (_RESET, _JUMP),
    ):
        out[at : at + len(piece)] = piece
    return bytes(out)


def written(first: int, end: int) -> NDArray[np.uint32]:
    """Return which pages the guest's writes with these numbers hit, from `first` on, before `end`."""
    powers = np.full(end, _FACTOR, np.uint32)
    powers[:1] = 1
    # x of n is the addend times the sum of the factor's first n powers, modulo 2**32
    sums = np.cumsum(np.cumprod(powers, dtype=np.uint32), dtype=np.uint32)
    return np.asarray((sums[first:] * np.uint32(_ADDEND)) >> _PAGE_SHIFT)
