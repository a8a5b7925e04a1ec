"""A gate before and a seal after a timed call on a GPU: nothing of the candidate can run on the inputs early or end late.

    gate    one block an SM holding all its shared memory: waits for the referee's key, decrypts the inputs into place,
            refills L2 with random bytes, stamps its end. Until the key arrives nobody in the worker's process has the
            inputs; while it runs no other block fits on any SM it holds. Blocks record the SM they ran on: fewer distinct
            SMs than there are means that somebody else's kernel sat on one.
    start event, the candidate's launches (already queued: no launch latency is timed), end event
    seal    one block an SM again: each needs an empty SM, so its start is stamped after whatever still ran there; then
            it copies the outputs out. Work on unjoined streams shows as a late stamp, and its results miss the copy.
            Its last block sets a word of the referee's page: the referee's clock stops without the worker's help.

The keystream is a keyed 32-bit mix (not cryptographic in general; it must hold for the microseconds between gate and
key, 64 secret bits). `Gate` is used by both processes: the referee only veils.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evolve.evaluators.timing import driver as cuda
from evolve.tasks.errors import InfrastructureError

SOURCE = r"""
typedef unsigned int u32; typedef unsigned long long u64;
#define MEET 200000  // nanoseconds a block waits for the others; one whose SM is taken comes too late, and D8 sees it
struct Segment { u64 source, target, words, base; };
struct Table { u64 count; Segment list[32]; };

__device__ __forceinline__ u64 nanoseconds() { u64 t; asm volatile("mov.u64 %0, %globaltimer;" : "=l"(t)); return t; }
__device__ __forceinline__ u32 multiprocessor() { u32 s; asm volatile("mov.u32 %0, %smid;" : "=r"(s)); return s; }
__device__ __forceinline__ u32 stream_word(u32 k0, u32 k1, u64 at) {
    u32 x = (u32)at * 0x9E3779B1u ^ k0 ^ (u32)(at >> 32) * 0x85EBCA77u;
    x ^= x >> 16; x *= 0x85EBCA6Bu; x ^= x >> 13; x = (x + k1) * 0xC2B2AE35u; x ^= x >> 16;
    x = (x ^ k0) * 0x27D4EB2Fu; x ^= x >> 15; return x;
}
__device__ __forceinline__ void veil_segments(const Table& table, u32 k0, u32 k1) {
    u64 first = (u64)blockIdx.x * blockDim.x + threadIdx.x, step = (u64)gridDim.x * blockDim.x;
    for (u64 s = 0; s < table.count; ++s) {
        const u32* in = (const u32*)table.list[s].source; u32* out = (u32*)table.list[s].target;
        u64 words = table.list[s].words, base = table.list[s].base;
        for (u64 i = first; i < words; i += step) out[i] = in[i] ^ stream_word(k0, k1, base + i);
    }
}
extern "C" __global__ void veil(const __grid_constant__ Table table, u32 k0, u32 k1) { veil_segments(table, k0, k1); }

// control: [0] ticket of the call the key is for, [1] key. keybox: [0] state (0 wait, 1 open, 2 gave up), [1] key.
extern "C" __global__ void __launch_bounds__(1024, 1) gate(
    volatile u64* control, u64 ticket, volatile u64* keybox, const __grid_constant__ Table table,
    uint4* refill, u64 refill_words, u64* ends, u64* where, u64 patience, u32* through) {
    extern __shared__ char held[];
    __shared__ u64 key; __shared__ int open;
    if (threadIdx.x == 0) {
        u64 until = nanoseconds() + patience;
        if (blockIdx.x == 0) {
            u64 state = 1;
            while (control[0] != ticket) if (nanoseconds() > until) { state = 2; break; }
            __threadfence_system();
            keybox[1] = control[1]; __threadfence(); keybox[0] = state;
        }
        while (keybox[0] == 0 && nanoseconds() < until + 1000000) { }
        __threadfence();
        open = keybox[0] == 1; key = keybox[1]; held[0] = 0;
    }
    __syncthreads();
    if (open) veil_segments(table, (u32)key, (u32)(key >> 32));
    u64 first = (u64)blockIdx.x * blockDim.x + threadIdx.x, step = (u64)gridDim.x * blockDim.x;
    for (u64 i = first; i < refill_words; i += step) {
        uint4 v = refill[i];
        v.x = v.x * 0x9E3779B1u + 1u; v.y ^= v.x >> 3; v.z += v.y; v.w ^= v.z << 1; refill[i] = v;
    }
    __syncthreads();
    if (threadIdx.x == 0) {  // all SMs are let go at once: none is free for somebody's work while another still refills
        __threadfence();
        atomicAdd(through, 1u);
        u64 limit = nanoseconds() + MEET;
        while (*(volatile u32*)through < gridDim.x && nanoseconds() < limit) { }
    }
    __syncthreads();
    if (threadIdx.x == 0) { where[blockIdx.x] = multiprocessor() + 1; ends[blockIdx.x] = open ? nanoseconds() : 0; }
}

// count: blocks that are through; flag: host word that the last of them sets to the call's ticket (0: none is mapped).
extern "C" __global__ void __launch_bounds__(1024, 1) seal(
    const __grid_constant__ Table table, u64* starts, u32* count, volatile u64* flag, u64 ticket) {
    extern __shared__ char held[];
    if (threadIdx.x == 0) { held[0] = 0; starts[blockIdx.x] = nanoseconds(); }
    u64 first = (u64)blockIdx.x * blockDim.x + threadIdx.x, step = (u64)gridDim.x * blockDim.x;
    for (u64 s = 0; s < table.count; ++s) {
        const unsigned char* in = (const unsigned char*)table.list[s].source;
        unsigned char* out = (unsigned char*)table.list[s].target;
        u64 bytes = table.list[s].words;
        if ((((u64)in | (u64)out) & 15) == 0) {
            for (u64 i = first; i < bytes / 16; i += step) ((uint4*)out)[i] = ((const uint4*)in)[i];
            for (u64 i = bytes / 16 * 16 + first; i < bytes; i += step) out[i] = in[i];
        } else for (u64 i = first; i < bytes; i += step) out[i] = in[i];
    }
    __syncthreads();
    if (threadIdx.x == 0 && flag != 0) {
        __threadfence_system();
        if (atomicAdd(count, 1u) == gridDim.x - 1) { *flag = ticket; __threadfence_system(); }
    }
}

extern "C" __global__ void spin(u64 duration) { u64 until = nanoseconds() + duration; while (nanoseconds() < until) { } }
"""

SEGMENTS = 32
"""Most tensors one kernel takes: the table travels by value (a copy would wait behind the gate)."""

THREADS = 1024
RESERVED = 1024
"""Static shared memory and the system's share of the opt-in limit left to the compiler, in bytes."""


class _Segment(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("source", "target", "words", "base")]


class _Table(ctypes.Structure):
    _fields_ = [("count", ctypes.c_uint64), ("list", _Segment * SEGMENTS)]


def _table(segments: Sequence[tuple[int, int, int, int]]) -> _Table:
    if len(segments) > SEGMENTS:
        raise InfrastructureError(f"a call takes at most {SEGMENTS} tensors, not {len(segments)}")
    table = _Table(count=len(segments))
    for i, row in enumerate(segments):
        table.list[i] = _Segment(*row)
    return table


@dataclass(frozen=True, slots=True)
class Stamps:
    """What the gate and the seal saw, nanoseconds of the GPU's global timer.

    opened: the key arrived. held: distinct SMs the gate ran on. late: spread of the seal's block starts.
    span: from the gate's last end to the seal's last start.
    """

    opened: bool
    held: int
    late: int
    span: int


class Gate:
    """The harness kernels loaded in the current context, with buffers of their own. Not thread-safe."""

    def __init__(self, driver: cuda.Driver, arch: str, l2: int | None = None, blocks: int | None = None) -> None:
        import torch

        self.driver, self._torch = driver, torch
        self.blocks = blocks or driver.attribute(cuda.SMS)
        self.shared = driver.attribute(cuda.SHARED_OPTIN) - RESERVED
        module = driver.load(cuda.compile_cubin(SOURCE, arch))
        self._veil, self._gate, self._seal, self._spin = (
            driver.function(module, n) for n in ("veil", "gate", "seal", "spin")
        )
        for function in (self._gate, self._seal):
            driver.allow_shared(function, self.shared)
        self.refill_bytes = 2 * (l2 or driver.attribute(cuda.L2_BYTES))
        self._refill = torch.randint(0, 1 << 31, (self.refill_bytes // 4,), dtype=torch.int32, device="cuda")
        # one buffer, so that one small kernel resets it all: keybox, counts, ends, starts, where (an SM's number + 1)
        self._words = torch.zeros(3 + 3 * self.blocks, dtype=torch.int64, device="cuda")
        base = self._words.data_ptr()
        self._keybox, self._count, self._ends = base, base + 16, base + 24
        self._starts, self._where = self._ends + 8 * self.blocks, self._ends + 16 * self.blocks

    def veil(self, segments: Sequence[tuple[int, int, int, int]], key: int, stream: int) -> None:
        """XOR words (4 bytes) with the keystream: encrypts and decrypts."""
        arguments = [_table(segments), ctypes.c_uint32(key & 0xFFFFFFFF), ctypes.c_uint32(key >> 32)]
        self.driver.launch(self._veil, self.blocks * 2, THREADS, 0, stream, arguments)

    def prepare(self) -> None:
        """Reset flags and stamps of the call before; the device must be idle."""
        self._words.zero_()

    def open(
        self,
        control: int,
        ticket: int,
        segments: Sequence[tuple[int, int, int, int]],
        stream: int,
        patience: float = 4.0,
    ) -> None:
        """Queue the gate. control: device address of two host words the referee writes [key first, ticket last]."""
        arguments = [
            ctypes.c_uint64(control),
            ctypes.c_uint64(ticket),
            ctypes.c_uint64(self._keybox),
            _table(segments),
            ctypes.c_uint64(self._refill.data_ptr()),
            ctypes.c_uint64(self.refill_bytes // 16),
            ctypes.c_uint64(self._ends),
            ctypes.c_uint64(self._where),
            ctypes.c_uint64(int(patience * 1e9)),
            ctypes.c_uint64(self._count + 4),
        ]
        self.driver.launch(self._gate, self.blocks, THREADS, self.shared, stream, arguments)

    def close(
        self, segments: Sequence[tuple[int, int, int, int]], stream: int, flag: int = 0, ticket: int = 0
    ) -> None:
        """Queue the seal: stamps, and copies of `segments` (source, target, bytes, 0).

        flag: device address of a host word that becomes `ticket` when the copies are done; 0: none.
        """
        arguments = [
            _table(segments),
            ctypes.c_uint64(self._starts),
            ctypes.c_uint64(self._count),
            ctypes.c_uint64(flag),
            ctypes.c_uint64(ticket),
        ]
        self.driver.launch(self._seal, self.blocks, THREADS, self.shared, stream, arguments)

    def spin(self, nanoseconds: int, stream: int) -> None:
        self.driver.launch(self._spin, 1, 1, 0, stream, [ctypes.c_uint64(nanoseconds)])

    def stamps(self) -> Stamps:
        """Read after the device is idle."""
        words = self._words.tolist()[3:]
        ends, starts, where = (words[i * self.blocks : (i + 1) * self.blocks] for i in range(3))
        return Stamps(
            opened=min(ends) > 0,
            held=len(set(where) - {0}),
            late=max(starts) - min(starts),
            span=max(starts) - max(ends),
        )


def keystream(key: int, base: int, words: int) -> Any:
    """The same keystream in numpy (tests, staging without a GPU): uint32 array of `words`."""
    import numpy as np

    at = base + np.arange(words, dtype=np.uint64)
    k0, k1 = np.uint32(key & 0xFFFFFFFF), np.uint32(key >> 32)
    with np.errstate(over="ignore"):
        x = (
            at.astype(np.uint32) * np.uint32(0x9E3779B1)
            ^ k0
            ^ (at >> np.uint64(32)).astype(np.uint32) * np.uint32(0x85EBCA77)
        )
        x ^= x >> np.uint32(16)
        x *= np.uint32(0x85EBCA6B)
        x ^= x >> np.uint32(13)
        x = (x + k1) * np.uint32(0xC2B2AE35)
        x ^= x >> np.uint32(16)
        x = (x ^ k0) * np.uint32(0x27D4EB2F)
        x ^= x >> np.uint32(15)
    return x
