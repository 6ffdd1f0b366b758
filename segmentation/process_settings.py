"""Settings of a process that make it fast, set by the commands before anything else.

Imported and called before jax, so that this module imports nothing large. Whoever sets the
environment variable himself is obeyed:

- `GLIBC_TUNABLES`: with `glibc.malloc.hugetlb=1` large arrays get huge pages. XLA's CPU backend
  asks for the temporary arrays of a training step, hundreds of megabytes, as one block at every
  step, and page by page up to a fifth of the time goes into page faults. glibc reads the variable
  when a process starts, so `configure` starts the command once more.
- `JAX_COMPILATION_CACHE_DIR`: compiled programs are kept in `~/.cache/coco-segmentation/jax`, and a
  command that was run before starts in seconds.
"""

import ctypes
import os
import pathlib
import sys

_HUGE_PAGES = pathlib.Path('/sys/kernel/mm/transparent_hugepage/enabled')


def configure() -> None:
    """Applies the settings; may replace the process by one with the same command and number."""
    cache = pathlib.Path('~/.cache/coco-segmentation/jax').expanduser()
    os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(cache))
    if 'GLIBC_TUNABLES' not in os.environ and _on_request():
        os.environ['GLIBC_TUNABLES'] = 'glibc.malloc.hugetlb=1'
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _on_request() -> bool:
    """Whether this is Linux with a glibc (2.35 or later) that can ask for huge pages."""
    try:
        name, version = os.confstr('CS_GNU_LIBC_VERSION').split()
        recent = tuple(int(part) for part in version.split('.')) >= (2, 35)
        return name == 'glibc' and recent and '[madvise]' in _HUGE_PAGES.read_text()
    except (OSError, ValueError, AttributeError):
        return False


def release_memory() -> None:
    """Gives memory that was freed back to the system, where the C library can.

    Compiling leaves hundreds of megabytes behind that training would never use again.
    """
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if trim:
        trim(0)
