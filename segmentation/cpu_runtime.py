"""Process settings that make training and inference fast on CPU.

`models/README.md` explains them: glibc keeps the temporary arrays of a step, threads share as many
heaps as there are cores and one more, programs run on the thread that calls them, compiled programs
are cached on disk, and Python collects garbage less often.

To opt out of the allocator settings, set one of glibc's own variables (GLIBC_TUNABLES or MALLOC_*)
or preload another allocator. JAX_COMPILATION_CACHE_DIR (default ~/.cache/coco-segmentation/jax) is
the folder of compiled programs, and JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS decides which of
them are cached.
"""

import ctypes
import gc
import os
import pathlib
from typing import Any

import jax

# glibc's malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_LARGEST = 2**31 - 1
# New objects between two garbage collections; Python's default is 700.
_GARBAGE_THRESHOLD = 100_000


def configure() -> None:
    """Applies the settings. Commands call it before they compute anything."""
    if not jax.config.values['jax_compilation_cache_dir']:
        cache = pathlib.Path('~/.cache/coco-segmentation/jax').expanduser()
        jax.config.update('jax_compilation_cache_dir', str(cache))
    if 'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS' not in os.environ:
        jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.05)
    gc.set_threshold(_GARBAGE_THRESHOLD, *gc.get_threshold()[1:])
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    own = any(name == 'GLIBC_TUNABLES' or name.startswith('MALLOC_') for name in os.environ)
    if mallopt and not own and 'LD_PRELOAD' not in os.environ:
        jax.config.update('jax_cpu_enable_async_dispatch', False)
        # Some versions of glibc refuse more than 32 MB, and setting only the other would fix the
        # threshold at 128 KB.
        mallopt(_M_MMAP_THRESHOLD, _LARGEST) or mallopt(_M_MMAP_THRESHOLD, 2**25)
        mallopt(_M_TRIM_THRESHOLD, _LARGEST)
        mallopt(_M_ARENA_MAX, 1 + len(os.sched_getaffinity(0)))


def settle(batch: Any) -> Any:
    """Puts a batch on the device, so that a program on it runs on the calling thread.

    On CPU another thread copies large arrays to the device. A program that waits for them also runs
    on that thread, where its temporary arrays are not kept. On other platforms, and with several
    devices, programs have their own threads anyway. The batch is then returned unchanged and sent
    while the device works.

    Args:
      batch: tree of arrays with a leading axis of devices, as `jax.pmap` takes them.
    """
    if jax.default_backend() != 'cpu' or jax.device_count() > 1:
        return batch
    return jax.block_until_ready(jax.device_put(batch))


def release_memory() -> None:
    """Collects garbage, and returns unused memory to the system."""
    gc.collect()
    trim_memory()


def trim_memory() -> None:
    """Returns unused memory to the system, if the C library can.

    Compiling leaves hundreds of megabytes that training would never use again. They are not
    garbage of Python, which takes a quarter of a second to look for.
    """
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if trim:
        trim(0)


def compile_ahead(function: Any, *arguments: Any) -> None:
    """Compiles a pmapped function for such arguments without running it.

    Memory left by the compiler is returned to the system before the first run allocates its
    temporary arrays. The first call does not compile again. With several processes it would, so
    nothing is done then.
    """
    if jax.process_count() == 1:
        function.lower(*arguments).compile()
        trim_memory()
