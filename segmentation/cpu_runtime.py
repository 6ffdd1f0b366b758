"""Settings that make a process fast on CPU, made by the commands before they start to work.

XLA's CPU backend asks for the temporary arrays of a training step, hundreds of megabytes, as one
block and gives it back at the end of the step. The C library passes such blocks on to the system,
so that every step takes all pages of it anew: up to a quarter of the time at 128×128 and batch 16.
`configure` has the library keep them, and runs programs on the thread that calls them, since only
the first thread's heap can hold a block that large. For the same reason a batch must be on the
device before a step starts (`settle`), which takes less than a millisecond where host and device
are the same: without it some training steps, and all of inference, took their pages anew (210
instead of 258 images per second in inference, and 1,470 instead of 1,060 MB at the peak of
training).

All threads share one heap. With heaps of their own, those that load data, evaluate and write
checkpoints would each keep, for good, the most that they ever used: a small training took 700 MB
and 150 MB more within the next half hour. With one it stays at 550 MB.

A command that was run before should start in seconds: compiled programs are kept, the many small
ones too, and Python looks for garbage less often, which took a third of the time in which a step is
traced.

To be left alone: set glibc's own variables (GLIBC_TUNABLES or MALLOC_*), or preload another
allocator. JAX_COMPILATION_CACHE_DIR says where compiled programs are kept, otherwise
~/.cache/coco-segmentation/jax, and JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS which.
"""

import ctypes
import gc
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax

# glibc's malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_LARGEST = 2**31 - 1
# New objects until Python looks for garbage; its own default is 700.
_GARBAGE_THRESHOLD = 100_000


def configure() -> None:
    """Applies the settings. Called before anything is computed."""
    if not jax.config.jax_compilation_cache_dir:
        cache = pathlib.Path('~/.cache/coco-segmentation/jax').expanduser()
        jax.config.update('jax_compilation_cache_dir', str(cache))
    if 'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS' not in os.environ:
        jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.05)
    gc.set_threshold(_GARBAGE_THRESHOLD, *gc.get_threshold()[1:])
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    own = any(name == 'GLIBC_TUNABLES' or name.startswith('MALLOC_') for name in os.environ)
    if mallopt and not own and 'LD_PRELOAD' not in os.environ:
        jax.config.update('jax_cpu_enable_async_dispatch', False)
        mallopt(_M_MMAP_THRESHOLD, _LARGEST)
        mallopt(_M_TRIM_THRESHOLD, _LARGEST)
        mallopt(_M_ARENA_MAX, 1)


def settle(batch: Any) -> Any:
    """A batch that a program finds ready, so that it runs on the thread that calls it.

    On CPU large arrays are copied to the device by another thread. A program that had to wait for
    them would run there too, where its temporary arrays are not kept: one step in a few, or all of
    them. Elsewhere, and with several devices, where programs have threads of their own anyway, the
    batch is returned as it is and sent while the device works.

    Args:
      batch: tree of arrays with a leading axis of devices, as `jax.pmap` takes them.
    """
    if jax.default_backend() != 'cpu' or jax.device_count() > 1:
        return batch
    return jax.block_until_ready(jax.device_put(batch))


def release_memory() -> None:
    """Gives memory that is not used any more back to the system, where the C library can.

    Compiling leaves hundreds of megabytes behind that training would never use again.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if trim:
        trim(0)


def compile_ahead(function: Callable, *arguments) -> None:
    """Compiles what `jax.pmap` returned for such arguments, without running it.

    What compiling leaves behind is given back to the system, so that it does not add to the
    temporary arrays of the first run. Calling the function then does not compile again. With
    several processes nothing is done: there pmap compiles only what it is called with.
    """
    if jax.process_count() == 1:
        function.lower(*arguments).compile()
        release_memory()
