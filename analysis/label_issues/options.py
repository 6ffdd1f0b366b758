"""Finds labels that are probably wrong, which error they have, and in which region.

    python -m analysis.label_issues --workdir runs/person_car --split val
    python -m analysis.label_issues --workdir runs/fold0 --pool runs/fold1 runs/fold2
    python scripts/train.py … --config.data.exclude=runs/fold0/analysis/val-600/exclude-pooled.json

A network finds label errors only in images that it was not trained on. For a whole training set,
train the folds of an experiment (`data.folds`; scripts/experiments/reproduce.py does that) and pool
them with --pool: each network scores its own fold. Kinds of issues:

    missing instance  the network sees an object of a class where nothing is labeled
    wrong class       an instance looks like one of another foreground class
    spurious label    an instance looks like background
    sloppy outline    an outline is unusually short and far from the edges in the image
    ambiguous         the network is uncertain in a wide region: a hard image, not a wrong label

Each issue has a score in [0, 1] and a probability of being an error, and lists begin with the most
probable. Issues of several kinds on one object count once, as the most probable of them. The
probabilities were calibrated on drawn scenes with planted errors; on other data, they only rank the
issues. A network that finds less than a quarter of the labeled pixels of a class knows little about
its labels: probabilities of issues about this class are reduced in proportion. If cleanlab is
installed (pip install "cleanlab>=2.9"), its softmin label quality is also computed.

The worst images (--share, --kinds) are written to exclude.json, with --pool to exclude-pooled.json,
which `data.exclude` reads.
"""

import argparse

from analysis.label_issues.schema import ERRORS, KINDS
from analysis.stage import command
from segmentation import launch


def make_parser() -> argparse.ArgumentParser:
    """The parser of `python -m analysis.label_issues`."""
    parser = command.make_parser('label_issues', __doc__)
    add = parser.add_argument
    command.add_pool(parser)
    about = 'maximum share of the images to exclude; default: %(default)s'
    add('--share', type=float, default=0.02, help=about)
    about = f'kinds that count for the exclusion: {", ".join(KINDS)}; default: all but the last'
    add('--kinds', nargs='+', default=list(ERRORS), choices=KINDS, metavar='KIND', help=about)
    command.add_force(parser)
    launch.add_processes(parser)
    return parser
