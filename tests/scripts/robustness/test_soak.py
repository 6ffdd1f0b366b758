"""What the soak calls flat and what a leak, and what its sampler sees."""

import subprocess
import sys

import harness
import numpy as np
import psutil
import pytest

from scripts.robustness import soak

MINUTES = np.arange(0, 60, 1 / 12)
# Up with each evaluation, down again with the garbage.
SAWTOOTH = 40 * (MINUTES % 2.3) / 2.3


def correlated_noise(seed, scale):
    """Noise that forgets within about a minute, float64 `[N]`."""
    rng, noise = np.random.default_rng(seed), np.zeros(len(MINUTES))
    for i in range(1, len(noise)):
        noise[i] = 0.92 * noise[i - 1] + rng.normal(0, scale)
    return noise


def verdict(values, allowed=10.0):
    return soak.trend(MINUTES, values, allowed)['verdict']


@pytest.mark.parametrize('seed', range(5))
def test_noise_and_sawtooth_are_flat_and_a_slow_leak_grows(seed):
    level = 600 + correlated_noise(seed, 1.0)
    assert verdict(level) == 'flat'
    assert verdict(level + SAWTOOTH, allowed=14.0) == 'flat'
    leak = 30 * MINUTES / 60
    assert verdict(level + leak) == 'grows'
    assert verdict(level + SAWTOOTH + leak) != 'flat'
    # What is taken while the run warms up is no leak.
    assert verdict(level + 300 * np.minimum(MINUTES / 9, 1)) == 'flat'


def test_slope_and_interval_are_those_planted():
    found = soak.trend(MINUTES, 600 + 30 * MINUTES / 60, 10.0)
    assert found['per_hour'] == pytest.approx(30)
    assert found['interval'] == pytest.approx([30, 30])
    # The medians of the windows of minutes 10-15 and 55-60.
    assert [found['first'], found['last']] == pytest.approx([606.25, 628.75], abs=0.1)
    inside = 0
    for seed in range(100):
        noisy = soak.trend(MINUTES, 30 * MINUTES / 60 + correlated_noise(seed, 3.0), 10.0)
        inside += noisy['interval'][0] <= 30 <= noisy['interval'][1]
    assert inside >= 88


def test_counts_are_flat_only_if_not_one_more_stays():
    rng = np.random.default_rng(0)
    threads = 170 + 5 * (rng.random(len(MINUTES)) < 0.3)
    threads[300] = threads[500] = 168  # a moment with fewer is no lower level

    def count_verdict(values):
        return soak.count_trend(MINUTES, values)['verdict']

    assert count_verdict(threads) == 'flat'
    assert count_verdict(threads - (MINUTES > 45)) == 'flat'
    assert count_verdict(threads + (MINUTES > 43)) == 'grows'
    assert count_verdict(threads + (MINUTES * 2).astype(int)) == 'grows'


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match='soak for longer'):
        soak.trend(np.array([0.0, 1.0, 60.0]), np.zeros(3), 10.0)


def test_sampler_sees_files_threads_memory_and_children(tmp_path):
    code = """
import subprocess, sys, threading
def use():
    held = [open(__file__) for _ in range(20)], bytearray(b'x' * 50_000_000)
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    return held
def ready():
    print(flush=True)
    return sys.stdin.readline()
if len(sys.argv) == 1:
    ready()
    child = subprocess.Popen([sys.executable, __file__, 'child'], stdin=-1, stdout=-1)
    child.stdout.readline()
    ready()
    child.communicate(b'')
else:
    held = use()
    ready()
"""
    script = tmp_path / 'a (strange) name.py'
    script.write_text(code)
    with subprocess.Popen([sys.executable, script], stdin=-1, stdout=-1) as process:
        process.stdout.readline()
        before = soak.measure(process.pid)
        process.stdin.write(b'\n')
        process.stdin.flush()
        process.stdout.readline()
        after = soak.measure(process.pid)
        descendants = harness.children(process.pid, recursive=True)
        process.communicate(b'')
    assert before['processes'] == 1 and after['processes'] == 1 + len(descendants) == 2
    assert before['workers_private_mb'] == 0
    assert 50 < after['workers_private_mb'] < 120
    assert after['private_mb'] == pytest.approx(before['private_mb'], abs=10)
    assert after['rss_mb'] - before['rss_mb'] > 50
    assert after['threads'] - before['threads'] == 2
    # The child's three and twenty, and the ends of two pipes.
    assert after['files'] - before['files'] >= 25
    assert not psutil.wait_procs(descendants, timeout=5)[1]


def test_finished_parts_are_not_run_again(tmp_path):
    runs = []

    def compute(folder, minutes):
        runs.append(minutes)
        return {'minutes': minutes, 'number': len(runs)}

    def number(minutes, force=False):
        return soak.part(tmp_path / 'part', {'minutes': minutes}, force, compute)['number']

    assert [number(1), number(1), number(2), number(2, force=True)] == [1, 1, 2, 3]
