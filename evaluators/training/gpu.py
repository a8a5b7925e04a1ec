"""What the cards did meanwhile: memory, clocks, power limit, temperature, read from the driver (NVML) by ctypes."""

from __future__ import annotations

import ctypes
import functools
import time
from collections.abc import Mapping
from typing import Any

EVERY = 0.5
"""Seconds between two looks."""

_GRAPHICS_SM = 1
_TEMPERATURE_GPU = 0


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


class Watch:
    """Readings of one run. The memory counts what the card held beyond the first look (other processes excluded)."""

    def __init__(self, gpus: int) -> None:
        self.gpus = gpus
        self._first = reading() if gpus else {}
        self._energy = energy() if gpus else None
        self.untimed: float | None = None
        self._last = 0.0
        self._readings: list[dict[str, float]] = []

    def look(self, now: float | None = None) -> None:
        now = time.monotonic() if now is None else now
        if self._first and now - self._last >= EVERY:
            self._last = now
            self._readings.append(reading())

    def mark(self) -> None:
        """The clock starts: what the card used until now was used untimed."""
        now = energy() if self.gpus else None
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


def energy(index: int = 0) -> float | None:
    """Joules a card used since its driver was loaded; None where it does not say."""
    library, device, wide = _library(), _device(index), ctypes.c_ulonglong()
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
