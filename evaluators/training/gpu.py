"""What the cards did meanwhile: memory, clocks, power limit, temperature, read from the driver (NVML) by ctypes."""

from __future__ import annotations

import ctypes
import functools
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from evolve.tasks.errors import InfrastructureError

EVERY = 0.5
"""Seconds between two looks."""

_GRAPHICS_SM = 1
_TEMPERATURE_GPU = 0


def cards(count: int) -> tuple[str, ...]:
    """The cards a run of `count` uses, as CUDA_VISIBLE_DEVICES takes them: the first that this process's own names, else
    the first of the machine. Raises InfrastructureError where fewer are visible."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    known = (
        [str(i) for i in range(count)] if named is None else [card.strip() for card in named.split(",") if card.strip()]
    )
    if len(known) < count:
        raise InfrastructureError(
            f"the track needs {count} GPUs and CUDA_VISIBLE_DEVICES={named!r} shows {len(known)}; show more of them"
        )
    return tuple(known[:count])


def _which(card: str) -> int | str:
    """NVML's name of a card: an index where it is a number, else its UUID."""
    return int(card) if card.isdigit() else card


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


@functools.cache
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    return library if library.nvmlInit_v2() == 0 else None


def _device(which: int | str) -> Any:
    library, handle = _library(), ctypes.c_void_p()
    if library is None:
        return None
    if isinstance(which, str):
        code = library.nvmlDeviceGetHandleByUUID(ctypes.c_char_p(which.encode()), ctypes.byref(handle))
    else:
        code = library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(which), ctypes.byref(handle))
    return handle if code == 0 else None


def reading(which: int | str = 0) -> dict[str, float]:
    """{"used_mib", "sm_mhz", "power_limit_w", "power_w", "temperature_c", "throttle"} of one card, by its index or UUID;
    empty without a driver.

    throttle: the driver's bit mask of why clocks are held down (0: they are not).
    """
    library, device = _library(), _device(which)
    if library is None or device is None:
        return {}
    memory, number, wide = _Memory(), ctypes.c_uint(), ctypes.c_ulonglong()
    out: dict[str, float] = {}
    if library.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)) == 0:
        out["used_mib"] = memory.used / (1 << 20)
    if library.nvmlDeviceGetClockInfo(device, _GRAPHICS_SM, ctypes.byref(number)) == 0:
        out["sm_mhz"] = float(number.value)
    if library.nvmlDeviceGetEnforcedPowerLimit(device, ctypes.byref(number)) == 0:
        out["power_limit_w"] = number.value / 1000
    if library.nvmlDeviceGetPowerUsage(device, ctypes.byref(number)) == 0:
        out["power_w"] = number.value / 1000
    if library.nvmlDeviceGetTemperature(device, _TEMPERATURE_GPU, ctypes.byref(number)) == 0:
        out["temperature_c"] = float(number.value)
    if library.nvmlDeviceGetCurrentClocksThrottleReasons(device, ctypes.byref(wide)) == 0:
        out["throttle"] = float(wide.value)
    return out


def together(cards: Sequence[str]) -> dict[str, float]:
    """One reading of several cards: memory, power and power limits added up, the lowest clock, the highest temperature,
    every throttle reason. Empty where any of them says nothing."""
    found = [reading(_which(card)) for card in cards]
    if not found or not all(found):
        return {}
    out = {
        name: sum(r[name] for r in found)
        for name in ("used_mib", "power_limit_w", "power_w")
        if all(name in r for r in found)
    }
    if all("sm_mhz" in r for r in found):
        out["sm_mhz"] = min(r["sm_mhz"] for r in found)
    out["temperature_c"] = max(r.get("temperature_c", 0.0) for r in found)
    reasons = 0
    for r in found:
        reasons |= int(r.get("throttle", 0))
    return {**out, "throttle": float(reasons)}


class Watch:
    """Readings of one run on its cards (the first `gpus` that this process sees). The memory counts what they held beyond
    the first look (other processes excluded)."""

    def __init__(self, gpus: int) -> None:
        self.cards = cards(gpus) if gpus else ()
        self._first = together(self.cards)
        self._energy = self._joules()
        self.untimed: float | None = None
        self._last = 0.0
        self._readings: list[dict[str, float]] = []

    def _joules(self) -> float | None:
        found = [energy(_which(card)) for card in self.cards]
        return sum(value for value in found if value is not None) if found and None not in found else None

    def look(self, now: float | None = None) -> None:
        now = time.monotonic() if now is None else now
        if self._first and now - self._last >= EVERY:
            self._last = now
            self._readings.append(together(self.cards))

    def mark(self) -> None:
        """The clock starts: what the cards used until now was used untimed."""
        now = self._joules()
        if now is not None and self._energy is not None:
            self.untimed = now - self._energy

    def summary(self) -> Mapping[str, float]:
        """Median clock, highest memory beyond the start, power limit, highest temperature, all throttle reasons."""
        if not self._readings:
            return {}
        out: dict[str, float] = {}
        clocks = sorted(r["sm_mhz"] for r in self._readings if "sm_mhz" in r)
        if clocks:
            out["sm_mhz"] = clocks[len(clocks) // 2]
        used = [r["used_mib"] for r in self._readings if "used_mib" in r]
        if used and "used_mib" in self._first:
            out["peak_vram_mb"] = max(used) - self._first["used_mib"]
        out["power_limit_w"] = self._readings[-1].get("power_limit_w", 0.0)
        out["temperature_c"] = max(r.get("temperature_c", 0.0) for r in self._readings)
        reasons = 0
        for r in self._readings:
            reasons |= int(r.get("throttle", 0))
        out["throttle"] = float(reasons)
        if self.untimed is not None:
            out["untimed_j"] = self.untimed
            out["idle_w"] = self._first.get("power_w", 0.0)
        return out


def energy(which: int | str = 0) -> float | None:
    """Joules a card used since its driver was loaded; None where it does not say."""
    library, device, wide = _library(), _device(which), ctypes.c_ulonglong()
    if library is None or device is None:
        return None
    if library.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(wide)) != 0:
        return None
    return wide.value / 1000


def untimed_work(gpu: Mapping[str, float], ready: float) -> float | None:
    """Seconds at full power that the card worked before the clock started, beyond idling; None where nothing is known.

    gpu: a summary. ready: seconds before the clock started. Compiling needs the CPU; training before the start shows.
    """
    if "untimed_j" not in gpu or not gpu.get("power_limit_w"):
        return None
    return (gpu["untimed_j"] - gpu["idle_w"] * ready) / gpu["power_limit_w"]
