"""What all workers of training_speed.py share: their protocol and the batch that they run on.

A worker is a process of its own. It gets a JSON object as its argument, builds that task, runs it
once and reports that it is ready. Then it answers requests until its standard input ends. Both
directions are JSON, one object per line:

    ← {"parameters": 6471395, …, "peak_mb": 812.5}       ready: the first step is done
    → {"skip": 2, "steps": 5}                            run 2 steps untimed, then 5 timed
    ← {"seconds": 1.93, "result": null, "peak_mb": 830.1}
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable

import numpy as np


def peak_megabytes() -> float:
    """Peak resident memory of this process in MB (10⁶ bytes)."""
    try:
        with open('/proc/self/status') as status:
            fields = dict(line.split(':', 1) for line in status)
        return int(fields['VmHWM'].split()[0]) * 1024 / 1e6
    except OSError:  # macOS, which counts in bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def random_batch(spec: dict) -> tuple[np.ndarray, np.ndarray]:
    """Seeded images uint8 `[B, S, S, 3]` and labels uint8 `[B, S, S]` in 0 … classes - 1."""
    rng = np.random.default_rng(0)
    shape = spec['batch_size'], spec['image_size'], spec['image_size']
    images = rng.integers(0, 256, (*shape, 3), np.uint8)
    return images, rng.integers(0, spec['classes'], shape, np.uint8)


def repeat(step: Callable[[], object]) -> Callable[[int], None]:
    """`run(steps)` of a task that does the same at each step."""

    def run(steps: int) -> None:
        for _ in range(steps):
            step()

    return run


def serve(
    tasks: dict[str, Callable[[dict], tuple[Callable[[int], object] | None, dict]]],
    setup: Callable[[dict], dict] = lambda spec: {},
) -> None:
    """Runs a worker.

    Args:
      tasks: name → function of the argument's object. It returns `run(steps)` and a description of
        itself. `run` finishes the work and returns JSON or None. A task that runs only once returns
        None instead of `run`, and its result in the description.
      setup: function of the argument's object that is called first; the description has its result.
    """
    # Output of libraries must not be mistaken for an answer.
    channel = os.fdopen(os.dup(1), 'w', buffering=1)
    os.dup2(2, 1)
    spec = json.loads(sys.argv[1])
    about = setup(spec)
    run, more = tasks[spec['task']](spec)
    if run:
        run(1)
    print(json.dumps({**about, **more, 'peak_mb': peak_megabytes()}), file=channel)
    for line in sys.stdin:
        request = json.loads(line)
        if request.get('skip'):
            run(request['skip'])
        start = time.perf_counter()
        result = run(request['steps'])
        answer = {'seconds': time.perf_counter() - start, 'result': result}
        print(json.dumps({**answer, 'peak_mb': peak_megabytes()}), file=channel)
