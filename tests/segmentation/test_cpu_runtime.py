"""Process settings of the commands."""

import itertools
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from segmentation import cpu_runtime
from tests.paths import ROOT

COMMAND = """
import ctypes, json, os, resource, threading
import jax
import jax.numpy as jnp
import numpy as np
from segmentation import cpu_runtime
cpu_runtime.configure()

@jax.jit
def step(x):  # temporary arrays of 256 MB
    return jnp.linalg.norm(jnp.fft.fft(jnp.outer(x, x)))

x = jnp.ones(4096)
for _ in range(3):
    step(x).block_until_ready()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    step(x).block_until_ready()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
batch = np.ones((1, 512, 512), np.float32)  # large enough to be copied by another thread
placed = cpu_runtime.settle({'image': batch})['image']
settled = [isinstance(placed, jax.Array), placed.is_ready()]
def resident():
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 1e6

kept, end = 0.0, threading.Event()
if os.path.exists('/proc/self/statm'):
    one_by_one = threading.Semaphore(0)
    def use():
        np.ones(5_000_000)  # 40 MB, free again at once
        one_by_one.release()
        end.wait()
    before = resident()
    for _ in range(8):
        threading.Thread(target=use).start()
        one_by_one.acquire()
    kept = resident() - before
    end.set()
libc, heaps = ctypes.CDLL(None), 0
if hasattr(libc, 'malloc_info'):
    libc.fopen.restype, libc.fopen.argtypes = ctypes.c_void_p, [ctypes.c_char_p] * 2
    libc.malloc_info.argtypes = ctypes.c_int, ctypes.c_void_p
    libc.fclose.argtypes = [ctypes.c_void_p]
    name = os.path.expanduser('~/heaps.xml')
    written = libc.fopen(name.encode(), b'w')
    libc.malloc_info(0, written)
    libc.fclose(written)
    with open(name) as file:
        heaps = file.read().count('<heap nr=')
cache = jax.config.jax_compilation_cache_dir
print(json.dumps({
    'faults': faults, 'cache': cache, 'settled': settled, 'kept': kept, 'heaps': heaps,
}))
"""


def run(tmp_path, **environment):
    names = ('GLIBC_TUNABLES', 'LD_PRELOAD', 'JAX_COMPILATION_CACHE_DIR')
    inherited = {
        key: value
        for key, value in os.environ.items()
        if key not in names and not key.startswith('MALLOC_')
    }
    output = subprocess.run(
        [sys.executable, '-c', COMMAND],
        env={
            **inherited,
            'XLA_FLAGS': '',
            'HOME': str(tmp_path),
            'PYTHONPATH': str(ROOT),
            **environment,
        },
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    return json.loads(output)


@pytest.fixture(scope='module')
def default(tmp_path_factory):
    home = tmp_path_factory.mktemp('home')
    return home, run(home)


needs_glibc = pytest.mark.skipif(
    'CS_GNU_LIBC_VERSION' not in os.confstr_names or not os.confstr('CS_GNU_LIBC_VERSION'),
    reason='only glibc has these settings',
)


@needs_glibc
def test_temporary_arrays_are_kept_unless_the_user_sets_the_allocator(default, tmp_path):
    own = run(tmp_path, MALLOC_ARENA_MAX='8')
    pages = 256 * 2**20 // os.sysconf('SC_PAGE_SIZE')
    # Left as it is, every step allocates its block again.
    if own['faults'] < 7 * pages:
        pytest.skip('the system hands out larger pages or keeps blocks itself')
    # Sometimes, mostly on a busy machine, a small array is allocated inside a block, which is then
    # replaced by another.
    results = itertools.chain([default[1]], (run(tmp_path) for _ in range(3)))
    assert any(result['faults'] < own['faults'] / 2 for result in results)


@needs_glibc
def test_threads_share_a_heap_per_core_and_one_more(default):
    cores = len(os.sched_getaffinity(0))
    # The threads of XLA do not wait for memory of the heap that the compiler has fragmented.
    assert 2 <= default[1]['heaps'] <= 1 + cores
    # Of eight threads, not each keeps the 40 MB that it has used.
    assert default[1]['kept'] < max(100, 45 * cores)


def test_compiled_programs_are_kept_in_the_users_cache_unless_told_otherwise(default, tmp_path):
    home, result = default
    assert result['cache'] == str(home / '.cache/coco-segmentation/jax')
    elsewhere = str(tmp_path / 'elsewhere')
    assert run(tmp_path, JAX_COMPILATION_CACHE_DIR=elsewhere)['cache'] == elsewhere


@pytest.mark.skipif(not pathlib.Path('/proc/self/statm').exists(), reason='reads Linux’ /proc')
def test_freed_memory_goes_back():
    def resident():
        pages = int(pathlib.Path('/proc/self/statm').read_text().split()[1])
        return pages * os.sysconf('SC_PAGE_SIZE')

    blocks = [bytes(100_000) for _ in range(2000)]
    last = bytearray(1000)  # above them, so that freeing alone gives nothing back
    full = resident()
    del blocks
    cpu_runtime.release_memory.__wrapped__()  # tests/conftest.py has replaced it
    assert full - resident() > 100e6
    del last


def test_a_batch_is_on_the_only_device_before_a_step_and_left_alone_for_several(default):
    batch = {'image': np.zeros((8, 1, 4, 4, 3), np.uint8)}
    assert cpu_runtime.settle(batch) is batch  # the tests have several devices
    assert default[1]['settled'] == [True, True]
