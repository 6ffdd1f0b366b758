"""A run directory with the artifacts of all analyses, for any number of images that do not exist.

No network is trained and no photograph read, so that 40,000 images take a minute; what the
artifacts contain has the real form, as the modules that own them write it.
"""

import json
import pathlib

import numpy as np
import pyarrow
import pyarrow.parquet

from analysis.samples import schema as samples
from analysis.stage import artifacts
from analysis.stage.view import View, open_view
from configs import default
from segmentation.config import save_config
from tests.report_fixture import findings, images
from tests.report_fixture.scenes import CATEGORIES, IMAGE_SIZE, SCENES


def write_run(
    workdir: pathlib.Path,
    number: int = 300,
    seed: int = 0,
    class_names: tuple[str, ...] = ('background', 'person', 'car'),
    name: str = 'val-600',
    hostile: bool = False,
    only: tuple[str, ...] | None = None,
) -> View:
    """Writes a run directory with an analysis; another `name` adds one to it.

    Args:
      workdir: made if it is not there.
      number: of images, at least 60: with fewer, kinds of scenes are absent.
      seed: the same seed writes the same images; other scores if `name` differs.
      class_names: background first; the first two others are persons and cars.
      name: of the analysis, `<split>-<step>`.
      hostile: give images, clusters and a category names that must not be taken for anything else.
      only: kinds of artifacts, such as ('pictures',), besides samples; default: all.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    config = default.get_config()
    config.data.image_size = IMAGE_SIZE
    save_config(config, workdir / 'config.json')
    described = {
        'class_names': list(class_names),
        'data': {'path': 'none', 'fingerprint': {'version': '1.0.0', 'id': f'drawn{seed}'}},
    }
    (workdir / 'run.json').write_text(json.dumps(described))
    folder = workdir / 'analysis' / name
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    ids = np.sort(rng.choice(10 * number, number, replace=False)) + 17_000_000
    # The header says which images there are before samples.parquet can.
    pyarrow.parquet.write_table(pyarrow.table({'image_id': ids}), folder / 'samples.parquet')
    analysis = open_view(workdir, name)
    kind = rng.integers(0, len(SCENES), number)
    categories = list(CATEGORIES)
    if hostile:
        categories[-1] = '<b>teddy</b> "bear" ' + '\u202e' + 'z' * 300
    table = images.make_samples(analysis, kind, tuple(categories), hostile, rng)
    artifacts.save(analysis, samples.summarize(table))
    makers = {
        'clusters': lambda: images.write_clusters(analysis, kind, rng),
        'similarity_map': lambda: images.write_maps(analysis, kind, rng),
        'label_issues': lambda: findings.write_label_issues(analysis, kind, rng),
        'slices': lambda: findings.write_slices(analysis),
        'associations': lambda: findings.write_associations(analysis),
        'confusion': lambda: findings.write_confusion(analysis, categories, rng),
        'pictures': lambda: images.write_pictures(analysis, kind, rng),
        'saliency': lambda: images.write_saliency(analysis, rng),
        'mean_iou': lambda: findings.write_scores(analysis, np.random.default_rng(seed)),
        'duplicates': lambda: findings.write_duplicates(analysis, hostile),
        'drift': lambda: findings.write_drift(analysis, np.random.default_rng(seed)),
        'label_next': lambda: findings.write_label_next(analysis, hostile),
        'objects': lambda: images.write_objects(analysis, hostile, np.random.default_rng(seed)),
    }
    for maker in makers if only is None else only:
        makers[maker]()
    return analysis
