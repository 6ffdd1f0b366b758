"""Scores a checkpoint: mean IoU over the set and per image, with bootstrap intervals.

    python -m analysis.mean_iou --workdir runs/person_car --split val --checkpoint best

Prints a table for the network's resolution and one for the photographs' own, and writes both with
their definitions to <workdir>/mean_iou-<split>-<step>.json and .md.
"""

import argparse
import json
import pathlib
import sys

from analysis.stage.command import make_parser, run_command
from analysis.stage.run import open_examples, restore_run
from segmentation import cpu_runtime, evaluate, metrics


def score_run(
    workdir: pathlib.Path, split: str, which: str, data_path: str = '', num_resamples: int = 2000
) -> dict:
    """Evaluates a checkpoint; see `metrics.summarize` for what `network` and `original` hold."""
    run = restore_run(workdir, which)
    examples, report = open_examples(run, split, data_path)
    result = evaluate.evaluate(
        evaluate.make_predict(run.model, run.config.data.input_range),
        run.variables,
        examples,
        num_classes=len(run.class_names),
        batch_size=run.config.eval_batch_size,
        original=True,
        progress=f'{split} at step {run.step}',
    )
    return {
        'split': split,
        'step': run.step,
        'class_names': list(run.class_names),
        'num_images': len(examples),
        'loss': float(result['loss'].mean()),
        **{
            resolution: metrics.summarize(
                result[resolution], run.class_names, num_resamples=num_resamples
            )
            for resolution in ('network', 'original')
        },
        'absent_class_rule': metrics.ABSENT_CLASS_RULE,
        'data': run.data,
        'selection': report,
    }


def to_markdown(scores: dict, image_size: int) -> str:
    """Both tables with what their numbers mean."""
    parts = [
        f'Split {scores["split"]}, checkpoint at step {scores["step"]}, {scores["num_images"]} '
        f'images, loss {scores["loss"]:.4f} nats per pixel. In brackets: 95 % bootstrap interval '
        'over images. Effective: number of equally large images that would hold the class as '
        'evenly; below about 30 the interval is too narrow.',
        f"At the network's resolution, {image_size}×{image_size}:",
        metrics.markdown_table(scores['network']),
        "At the photographs' own resolution:",
        metrics.markdown_table(scores['original']),
        scores['absent_class_rule'],
    ]
    return '\n\n'.join(parts) + '\n'


def _run(arguments: argparse.Namespace) -> dict:
    scores = score_run(
        arguments.workdir, arguments.split, arguments.checkpoint, arguments.data_path
    )
    image_size = json.loads((arguments.workdir / 'config.json').read_text())['data']['image_size']
    markdown = to_markdown(scores, image_size)
    print(markdown)
    path = arguments.workdir / f'mean_iou-{scores["split"]}-{scores["step"]}.json'
    path.write_text(json.dumps(scores, indent=2) + '\n')
    path.with_suffix('.md').write_text(markdown)
    return scores


def main(argv: list[str] | None = None) -> int:
    return run_command(make_parser('mean_iou', __doc__).parse_args(argv), _run)


if __name__ == '__main__':
    cpu_runtime.configure()
    sys.exit(main())
