"""Four fake devices for every test, and a tiny data set with a config to train on it."""

import functools
import gc
import importlib.util
import os
import shutil
import sys
import tempfile

# Before jax is imported. Tests choose how many of the devices they use. Networks here are so
# small that compiling takes longest, so it is told to optimize less.
os.environ['XLA_FLAGS'] = ' '.join(
    [
        os.environ.get('XLA_FLAGS', ''),
        '--xla_force_host_platform_device_count=4',
        '--xla_backend_optimization_level=0',
        '--xla_llvm_disable_expensive_passes=true',
        '--xla_cpu_parallel_codegen_split_count=1',
        # JAX 0.12, of later versions of Python, has no such flag.
        '--xla_cpu_use_fusion_emitters=false' if sys.version_info < (3, 12) else '',
    ]
)
# scripts/benchmarks/accelerator.py runs some of them on a GPU.
os.environ['JAX_PLATFORMS'] = os.environ.get('TEST_PLATFORM', 'cpu')
# Many tests, and the commands they start, compile the same programs; the processes of pytest-xdist
# share the cache of the one that starts them. A cache that is named outlives the tests.
if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
    _cache = tempfile.TemporaryDirectory(prefix='jax-cache-')
    os.environ['JAX_COMPILATION_CACHE_DIR'] = _cache.name
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'

import jax
import psutil
import pytest

from analysis import registry
from analysis.stage.run import open_analysis
from configs import default
from segmentation import checkpoint, cpu_runtime, evaluate, programs, train_step, workdir
from segmentation.data import examples
from segmentation.models import unet
from tests import coco_fixtures

# Memory matters less here than time: programs stay compiled from test to test, up to a bound.
_KEPT = (
    (programs, 'make'), (evaluate, '_make_predict'),
    (train_step, '_initializer'), (train_step, '_optimizer_initializer'),
)  # fmt: skip
for _module, _name in _KEPT:
    _function = getattr(_module, _name).__wrapped__
    setattr(_module, _name, functools.lru_cache(maxsize=16)(_function))
jax.clear_caches = functools.wraps(jax.clear_caches)(lambda: None)
cpu_runtime.release_memory = functools.wraps(cpu_runtime.release_memory)(lambda: None)
_MOST_MEMORY = 3e9  # bytes
gc.set_threshold(100_000)  # as in commands: tracing makes many objects and little garbage


def pytest_runtest_setup(item):
    """Skips a test of more devices than there are, on other platforms than the CPU."""
    number = getattr(item, 'callspec', None) and item.callspec.params.get('num_devices')
    if number and number > jax.device_count():
        pytest.skip(f'needs {number} devices; there is {jax.device_count()}')


@pytest.fixture(scope='module', autouse=True)
def bounded_memory():
    """Drops compiled programs after a file of tests if this process is large."""
    yield
    if psutil.Process().memory_info().rss > _MOST_MEMORY:
        for module, name in _KEPT:
            getattr(module, name).cache_clear()
        jax.clear_caches.__wrapped__()
        cpu_runtime.release_memory.__wrapped__()


@pytest.fixture(scope='session')
def coco_folder(tmp_path_factory):
    """A folder in COCO's layout: 12 training and 6 validation pictures of noise."""
    documents = {'train': coco_fixtures.document(12), 'val': coco_fixtures.document(6, seed=1)}
    return coco_fixtures.write_folder(tmp_path_factory.mktemp('coco'), documents)


@pytest.fixture(scope='session')
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp('prepared')


def _tiny_config(coco_folder, data_dir):
    config = default.get_config()
    config.data.source = str(coco_folder)
    config.data.data_dir = str(data_dir)
    config.data.image_size = 32
    config.data.require = 'nothing'
    config.data.threads = 2
    config.data.selection_fraction = 0.3
    config.model.pretrained = ''
    config.model.width = 0.35
    config.model.encoder_trainable = True
    config.train.batch_size = 8
    config.train.num_steps = 4
    config.train.eval_every = 2
    config.train.recalibrate_batches = 2
    config.train.log_every = 1
    config.train.num_pictures = 2
    config.eval_batch_size = 8
    return config


@pytest.fixture
def tiny_config(coco_folder, data_dir):
    """A narrow network on 32×32 pixels, a few steps long."""
    return _tiny_config(coco_folder, data_dir)


@pytest.fixture(scope='session')
def tiny_run(coco_folder, data_dir, tmp_path_factory):
    """Run directory of such a network before its first step. Copy it to write into it."""
    folder, config = tmp_path_factory.mktemp('run'), _tiny_config(coco_folder, data_dir)
    prepared, class_names = examples.open_data(config.data), ('background', 'person', 'car')
    described = workdir.describe_run(prepared, {}, class_names)
    workdir.write_description(folder, config, described)
    network = unet.build_model(config.model, len(class_names))
    optimizer, _ = train_step.make_optimizer(config.optimizer, 1, True)
    state = train_step.init_state(network, optimizer, config)
    with checkpoint.open_manager(folder) as manager:
        checkpoint.save(manager, 0, state, {}, {checkpoint.BEST_METRIC: 0.0})
    yield folder
    written = [path for path in (folder / 'analysis').rglob('*') if path.is_file()]
    assert not written, f'a test wrote into the run that others copy: {written}'


@pytest.fixture(scope='session')
def analyzed_run(tiny_run, tmp_path_factory):
    """The analysis of that network's validation images, for tests that do not write into it."""
    folder = tmp_path_factory.mktemp('analyzed') / 'run'
    shutil.copytree(tiny_run, folder)
    made = open_analysis(folder, 'val')
    for stage in ('samples', 'embeddings', 'similar', 'pictures'):
        registry.load(stage).get(made)
    return made


@pytest.fixture(scope='session')
def chromium():
    """The command of Chromium, for tests that start it through playwright."""
    command = shutil.which('chromium')
    if command is None or importlib.util.find_spec('playwright') is None:
        # .ci/run sets this once Chromium is installed, so that no change can skip these tests.
        leave = pytest.fail if os.environ.get('REQUIRE_BROWSER') else pytest.skip
        leave('Chromium or playwright is not installed')
    return command


@pytest.fixture(scope='module')
def browser(chromium):
    """Headless Chromium. Not for the session: while it is there, nothing else may use asyncio."""
    from playwright import sync_api

    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=['--no-sandbox'])
        yield launched
        launched.close()
