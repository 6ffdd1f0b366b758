"""The list of all stages of the analysis; a stage comes after those that it reads."""

import contextlib
import dataclasses
import importlib
import io
import json
import pathlib
import resource
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

from segmentation import launch

if TYPE_CHECKING:
    from analysis.stage.contract import Stage
    from analysis.stage.view import View

# Each is a package of `analysis`: `stage` has a `STAGE`, and `options` the parser of its command.
STAGES = (
    'predictions',
    'mean_iou',
    'samples',
    'embeddings',
    'clusters',
    'similarity_map',
    'similar',
    'confusion',
    'associations',
    'slices',
    'label_issues',
    'saliency',
    'pictures',
    'duplicates',
    'drift',
    'label_next',
    'objects',
)


def load(name: str) -> 'Stage[Any]':
    """Imports a stage of `STAGES`."""
    return importlib.import_module(f'analysis.{name}.stage').STAGE


def run(name: str) -> None:
    """Runs the command `python -m analysis.<name>`.

    JAX takes seconds to import, so the arguments are parsed first.
    """
    importlib.import_module(f'analysis.{name}.options').make_parser().parse_args()
    from segmentation import cpu_runtime

    cpu_runtime.configure()
    sys.exit(importlib.import_module(f'analysis.{name}.stage').main())


def unavailable(view: 'View') -> dict[str, str]:
    """Why stages cannot be run on a view, by their names."""
    reasons = {name: load(name).why_not(view) for name in STAGES}
    return {name: reason for name, reason in reasons.items() if reason}


def graph() -> str:
    """One line per stage with the stages that it reads; those in brackets are optional."""
    lines = []
    for stage in map(load, STAGES):
        reads = [other.name for other in stage.reads]
        reads += [f'[{other.name}]' for other in stage.reads_if_there]
        version = f'{stage.name} (version {stage.result.VERSION})'
        lines.append(f'{version:28} ← {", ".join(reads) or "the network and the images"}')
    return '\n'.join(lines)


@dataclasses.dataclass(frozen=True)
class Measured:
    """A command of the analysis that was run."""

    seconds: float  # wall time
    processor_seconds: float  # user and system time of all threads
    peak_mb: float  # largest resident memory of the process so far
    result: dict[str, Any]  # what the command writes with `--json`


def measure(name: str, argv: list[str], report: pathlib.Path) -> Measured | None:
    """Runs `python -m analysis.<name>`, also 'compare' or 'report', in this process.

    `argv` are its arguments. Its output goes to `report`. Returns None if it failed; the error is
    on standard error.

    Raises:
      SystemExit: Ctrl-C stopped it.
    """
    import jax

    from analysis.stage import shards
    from segmentation import cpu_runtime

    start, began, printed = time.perf_counter(), time.process_time(), io.StringIO()
    with tempfile.NamedTemporaryFile('r', suffix='.json') as file:
        module = importlib.import_module(f'analysis.{name}.stage')
        with contextlib.redirect_stdout(printed):
            status = module.main([*argv, '--json', file.name])
        if status == launch.EXIT_INTERRUPTED:
            raise SystemExit(status)  # The command has said so.
        if status:
            return None
        # By name: the file was replaced.
        result = json.loads(pathlib.Path(file.name).read_text())
    if shards.is_first():
        report.write_text(printed.getvalue())
    # The next stage does not need the compiled programs of this one.
    jax.clear_caches()
    cpu_runtime.release_memory()
    return Measured(
        time.perf_counter() - start,
        time.process_time() - began,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
        result,
    )
