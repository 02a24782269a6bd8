"""Computes functions by Triton kernels, where a kernel is proven to give what the function gives."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import update_wrapper
from importlib import import_module
from threading import Lock
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

Made = TypeVar("Made", Tensor, tuple[Tensor, ...])

# Kernels are compiled for cards from this generation on; for older ones LLVM may end the process. (AMD's have other numbers.)
_OLDEST = (7, 5)
# A result with fewer values that are not 0 proves nothing.
_ENOUGH = 64
# To compile a kernel takes some seconds, once on a machine. A single image does not earn them back, frames of a video do.
_RUNS_BEFORE = 16


class ByKernel(Generic[Made]):
    """A function of tensors and constants that a Triton kernel may compute: "the eager way" is the function itself.

    The eager way is the reference, and the way on all devices but CUDA's, for gradients and for other dtypes than float32. From the 17th
    call on, the first results on each card with each set of constants are computed both ways and compared. If the kernel raises (no Triton,
    no compiler, an odd card) or differs, one line of the log says so, and the eager way is taken from then on.

    Args:
        eager: The function; it modifies no argument, and all arguments are positional.
        module: The module of the kernel, imported at its first use. It has a function of `eager`'s name without underscore.
        tolerance: Greatest difference of values, absolute and relative: a kernel multiplies and adds with one rounding, in its own order.
        otherwise: Share of the values that may differ by more, as where two choices are equal up to rounding.
    """

    def __init__(self, eager: Callable[..., Made], module: str, tolerance: float, otherwise: float) -> None:
        update_wrapper(self, eager)
        self.eager, self._module, self._name = eager, module, eager.__name__.lstrip("_")
        self._tolerance, self._otherwise = tolerance, otherwise
        self._runs = 0
        self._proven: set[Any] = set()
        self._failed: set[torch.device] = set()
        self._lock = Lock()

    def __call__(self, *args: Any) -> Made:
        tensors = [each for each in args if isinstance(each, Tensor)]
        device = tensors[0].device
        if device in self._failed or not runs_kernels(tensors):
            return self.eager(*args)
        self._runs += 1
        if self._runs <= _RUNS_BEFORE:
            return self.eager(*args)
        # Each set of constants is a kernel of its own.
        variant = (device, *(each for each in args if not isinstance(each, Tensor)))
        # Threads that come at the same time wait for the proof.
        with nullcontext() if variant in self._proven else self._lock:
            is_proven = variant in self._proven
            expected = None if is_proven else self.eager(*args)
            try:
                if device not in self._failed:
                    with torch.cuda.device_of(tensors[0]):
                        made = getattr(import_module(self._module), self._name)(*args)
                    if is_proven:
                        return made
                    if self._is_same(made, expected):
                        self._proven.add(variant)
            except Exception as error:  # noqa: BLE001  Triton, compilers and drivers raise anything; the eager way gives the same
                self._failed.add(device)
                reason = f"{type(error).__name__}: {error}".splitlines()[0]
                level = logging.WARNING if isinstance(error, ArithmeticError) else logging.INFO
                logger.log(level, "%s: without its Triton kernel on %s, which takes longer (%s)", self._name, device, reason)
        return self.eager(*args) if expected is None else expected

    def _is_same(self, made: Any, expected: Any) -> bool:
        """Whether there are enough values for a proof. Raises ArithmeticError if too many differ. Synchronises the device once."""
        made, expected = (
            torch.cat([each.flatten().float() for each in (maps if isinstance(maps, tuple) else (maps,))]) for maps in (made, expected)
        )
        differ = ~torch.isclose(made, expected, self._tolerance, self._tolerance, equal_nan=True)
        wrong, enough = torch.stack((differ.sum(), expected.count_nonzero())).tolist()
        if wrong > 1 + self._otherwise * len(made):
            raise ArithmeticError(f"{wrong} of {len(made)} values differ")
        return enough >= _ENOUGH


def by_kernel(module: str, tolerance: float = 1e-5, otherwise: float = 1e-4) -> Callable[[Callable[..., Made]], ByKernel[Made]]:
    """Decorator: `ByKernel`, whose arguments these are."""
    return lambda eager: ByKernel(eager, module, tolerance, otherwise)


def runs_kernels(tensors: Sequence[Tensor]) -> bool:
    """Whether tensors are plain ones on a CUDA device for which kernels are compiled, floats only in float32, without gradient."""
    return (
        not torch.compiler.is_compiling()
        and all(
            type(each) is Tensor
            and each.device.type == "cuda"
            and (each.dtype == torch.float32 or not each.is_floating_point())
            and not (each.requires_grad and torch.is_grad_enabled())
            for each in tensors
        )
        and torch.version.hip is None
        and torch.cuda.get_device_capability(tensors[0].device) >= _OLDEST
    )
