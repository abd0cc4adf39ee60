"""Dealing out a call of a C++ kernel, which runs on one thread, to as many threads as PyTorch's operations have."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

__all__ = ["on_threads"]


def on_threads(call: Callable[[slice], None], count: int) -> None:
    """``call`` for all of ``count`` items, in slices side by side: one on each of torch.get_num_threads() threads."""
    threads = torch.get_num_threads()
    slices = [slice(i * count // threads, (i + 1) * count // threads) for i in range(threads)]
    first, *others = [part for part in slices if part.start < part.stop] or [slice(0, 0)]
    running = [_pool(threads - 1).submit(call, part) for part in others]
    try:
        call(first)
    finally:  # what the others write to must live on until they are done
        errors = [other.exception() for other in running]
    for error in filter(None, errors):
        raise error


@functools.lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="kernel")


os.register_at_fork(after_in_child=_pool.cache_clear)  # there, its threads are gone
