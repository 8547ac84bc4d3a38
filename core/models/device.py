"""Which device runs a local model, and in which number format: one documented rule. Loads no model."""

from __future__ import annotations

import torch

from core.errors import ModelError


def choose_device(wanted: str) -> str:
    """Return the device: the one asked for; for ``auto`` cuda, else mps, else cpu.

    Raises:
        ModelError: the device asked for is not here.
    """
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return next(device for device, present in here.items() if present)
    if not here[wanted]:
        raise ModelError(f"no {wanted} device is here: set DOMAINKIT_DEVICE to auto or cpu, or install a torch build with {wanted}")
    return wanted


def choose_dtype(device: str) -> torch.dtype:
    """Return the number format of the weights.

    cuda: bfloat16 where the GPU computes in it, else float16. mps: float16. cpu: bfloat16 where the CPU computes in it
    (AVX512-BF16 or AMX), else float32, because emulated bfloat16 is slower than float32.
    """
    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device == "mps":
        return torch.float16
    report = getattr(torch.cpu, "get_capabilities", None)
    capabilities = report() if report is not None else {}
    return torch.bfloat16 if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else torch.float32


def emulates_bf16() -> bool:
    """Whether the device that training runs on has no bfloat16 of its own. Matrices multiply some 60 times slower then (measured, AVX2)."""
    return choose_dtype(choose_device("auto")) is not torch.bfloat16
