"""Graphics processors that the target's processes use, by NVIDIA's library; silently nothing without it or a driver.

Needs `pip install nvidia-ml-py` (the extra `gpu`).
"""

from __future__ import annotations

import importlib
import statistics
from collections.abc import Callable, Collection, Iterator
from typing import Any

from schemas.resource_sample import Gpu

__all__ = ["GpuReader"]


class GpuReader:
    """Opens the library once; whatever it refuses is not known."""

    def __init__(self) -> None:
        self._nvml: Any = None
        try:
            nvml = importlib.import_module("pynvml")
            nvml.nvmlInit()
        except Exception:  # noqa: BLE001  (no library, no driver, no device: all the same to us)
            return
        self._nvml = nvml

    def read(self, pids: Collection[int]) -> Gpu | None:
        """What the processors take that these processes run on; None if they run on none."""
        if self._nvml is None:
            return None
        used = [device for device in self._devices() if self._runs_on(device, pids)]
        if not used:
            return None
        memories = [memory for device in used if (memory := self._ask(self._nvml.nvmlDeviceGetMemoryInfo, device))]
        loads = [
            rates.gpu / 100 for device in used if (rates := self._ask(self._nvml.nvmlDeviceGetUtilizationRates, device))
        ]
        heats = [
            heat for device in used if (heat := self._ask(self._nvml.nvmlDeviceGetTemperature, device, 0)) is not None
        ]
        errors = [
            count
            for device in used
            if (count := self._ask(self._nvml.nvmlDeviceGetTotalEccErrors, device, 1, 0)) is not None
        ]
        return Gpu(
            memory_used_bytes=sum(memory.used for memory in memories) if memories else None,
            memory_limit_bytes=sum(memory.total for memory in memories) if memories else None,
            utilization_ratio=min(1.0, statistics.fmean(loads)) if loads else None,
            temperature_celsius=float(max(heats)) if heats else None,
            ecc_errors=sum(errors) if errors else None,
        )

    def _devices(self) -> Iterator[Any]:
        for index in range(self._ask(self._nvml.nvmlDeviceGetCount) or 0):
            device = self._ask(self._nvml.nvmlDeviceGetHandleByIndex, index)
            if device is not None:
                yield device

    def _runs_on(self, device: Any, pids: Collection[int]) -> bool:
        running = self._ask(self._nvml.nvmlDeviceGetComputeRunningProcesses, device) or ()
        return any(process.pid in pids for process in running)

    def _ask(self, question: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return question(*arguments)
        except self._nvml.NVMLError:
            return None
