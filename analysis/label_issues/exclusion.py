"""The list of images with the most suspicious labels, which `data.exclude` reads."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from analysis.label_issues.schema import LabelIssues
from analysis.stage.view import View
from segmentation.files import write_json

_SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Excluded:
    """An image, the most suspicious region of its label, and what is wrong there in words."""

    image_id: int
    file_name: str
    kind: str
    score: float
    probability: float
    reason: str


def worst(
    image_ids: np.ndarray, issues: LabelIssues, share: float, kinds: Sequence[str]
) -> list[Excluded]:
    """The images whose labels are most probably wrong, at most a share of them.

    `image_ids` are int64 `[N]`, of the rows of `issues`; only some kinds of issues count.
    """
    chosen: dict[int, Excluded] = {}
    regions = [
        {**region, 'image_id': int(image_ids[region['row']])}
        for region in issues.regions.to_pylist()
        if region['kind'] in kinds
    ]
    for region in sorted(regions, key=lambda region: (-region['probability'], region['image_id'])):
        if len(chosen) == int(share * issues.num_images):
            break
        image_id, file_name, kind = (region[key] for key in ('image_id', 'file_name', 'kind'))
        numbers = region['score'], region['probability']
        found = Excluded(image_id, file_name, kind, *numbers, reason(region))
        chosen.setdefault(image_id, found)
    return list(chosen.values())


def reason(region: Mapping[str, Any]) -> str:
    """What is wrong in a region (a row of `LabelIssues.regions`); explorer/core has the same."""
    place = f'{region["area"]:.1f} % of the image'
    if region['kind'] == 'missing instance':
        return f'{region["suggested"]} seen in {place} where {region["given"]} is labeled'
    if region['kind'] == 'sloppy outline':
        return f'outline of annotation {region["annotation_id"]} ({region["given"]}, {place})'
    if region['kind'] == 'ambiguous':
        return f'the network is uncertain on {place}'
    return (
        f'annotation {region["annotation_id"]} ({place}) is labeled {region["given"]} and looks '
        f'like {region["suggested"]}'
    )


def write(views: Sequence[View], excluded: Sequence[Excluded], path: pathlib.Path) -> None:
    """Writes the list.

    The JSON file has `schema_version`, the `fingerprint` of the data set (other data sets refuse
    the file), `runs` with workdir, split and step of each, `ids` of images, and `images`, see
    `Excluded`.
    """
    document = {
        'schema_version': _SCHEMA_VERSION,
        'fingerprint': views[0].data['fingerprint']['id'],
        'runs': [{'workdir': str(v.workdir), 'split': v.split, 'step': v.step} for v in views],
        'ids': [image.image_id for image in excluded],
        'images': [dataclasses.asdict(image) for image in excluded],
    }
    write_json(path, document)
