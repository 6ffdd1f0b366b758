"""Is a new model worse than the old one? A gate for CI: per class, slice and saved view.

    python -m analysis.check --workdir runs/new --baseline runs/old
    python -m analysis.check --workdir runs/new --baseline runs/old runs/old1 runs/old2 \\
        --views views.json --junit gate.xml

Exit status 0: no check found a drop; 1: the new model is worse; 2: nothing could be checked,
because of invalid arguments or data, an interruption or a crash.

The models are compared on the images that all runs have in --split: by the IoU of each class over
the set, and by the mean per-image IoU in each slice with a high mean loss of all training runs and
in each saved view. --views is a file that the report exports, {"views": [{"name": "night", "ids":
[1, 2]}]}. Predictions are read, or computed where they are missing. Slices chosen by the baseline
alone would favor the new model, because part of the baseline's loss there is chance.

Two training runs of one recipe differ by more than the choice of the test images explains. Give
several training runs of the old recipe (other seeds), and of the new one, to measure by how much;
with one of each, --training_sd is assumed. Over all checks together, another training run of the
same recipe is called worse in at most 5 % of the cases. The table gives the minimum detectable drop
of each check: a gate that passes with ten images has shown nothing.
"""

import argparse
import pathlib

from analysis.stage import command


def make_parser() -> argparse.ArgumentParser:
    """The parser of `python -m analysis.check`."""
    parser = command.make_parser('check', __doc__)
    add = parser.add_argument
    about = 'run directories of the old model: one recipe, with several seeds if possible'
    add('--baseline', required=True, nargs='+', type=pathlib.Path, metavar='WORKDIR', help=about)
    about = 'further training runs of the new recipe'
    add('--also', nargs='+', default=[], type=pathlib.Path, metavar='WORKDIR', help=about)
    add('--baseline_checkpoint', default='best', help='as --checkpoint; default: %(default)s')
    add('--views', type=pathlib.Path, metavar='FILE', help='views saved in the report')
    about = (
        'assumed standard deviation of the IoU between training runs of one recipe; matters less, '
        'the more runs are given; default: %(default)s'
    )
    add('--training_sd', type=float, default=0.01, help=about)
    about = (
        'the drop of IoU that matters: a check that cannot exclude it is inconclusive; default: '
    )
    add('--drop', type=float, default=0.05, help=f'{about}%(default)s')
    add('--junit', type=pathlib.Path, metavar='FILE', help='also write the result as JUnit XML')
    return parser
