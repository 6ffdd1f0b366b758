"""Regions whose label may be wrong: the result of `analysis.label_issues`."""

import dataclasses
from typing import ClassVar

import numpy as np
import pyarrow

from analysis.stage.artifacts import Result
from analysis.stage.view import Parts

KINDS = ('missing instance', 'wrong class', 'spurious label', 'sloppy outline', 'ambiguous')
# 'ambiguous' means that an image is hard, not that its label is wrong.
ERRORS = KINDS[:4]

_INTEGER, _NUMBER, _TEXT = pyarrow.int64(), pyarrow.float64(), pyarrow.string()
# Columns of `LabelIssues.regions`; each has the metadata `description`.
REGIONS = pyarrow.schema(
    [
        pyarrow.field(name, kind, metadata={'description': description})
        for name, kind, description in (
            ('row', _INTEGER, 'of the image'),
            ('file_name', _TEXT, 'of the image'),
            ('kind', _TEXT, f'one of {", ".join(KINDS)}'),
            ('score', _NUMBER, 'how suspicious the region is, 0–1'),
            (
                'probability', _NUMBER,
                'of an error of this kind (ambiguous: of any kind), as calibrated on drawn scenes',
            ),
            (
                'object', _INTEGER,
                'issues of an image with the same number are on one object; the first is the most '
                'probable',
            ),
            ('given', _TEXT, 'class that is labeled there'),
            ('suggested', _TEXT, 'class that the network suggests'),
            ('confidence', _NUMBER, 'mean probability of the suggested class in the region'),
            ('annotation_id', _INTEGER, 'of the instance in question; null if there is none'),
            ('area', _NUMBER, '% of image'),
            ('left', _NUMBER, 'side of the bounding box as a share of the image’s width'),
            ('top', _NUMBER, 'side of the bounding box as a share of the image’s height'),
            ('right', _NUMBER, 'see left'),
            ('bottom', _NUMBER, 'see top'),
            (
                'rle', pyarrow.binary(),
                'mask at the network’s resolution as compressed RLE (pycocotools)',
            ),
        )
    ]
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class LabelIssues(Result):
    """Suspicious regions of all images."""

    NAME: ClassVar[str] = 'label_issues'
    VERSION: ClassVar[int] = 7
    PARTS: ClassVar[Parts] = Parts.ONE

    num_images: int  # N
    cleanlab: str  # version of cleanlab, or the reason why it was not used
    # Float64 `[N]`, cleanlab's softmin label quality of each image (Lad & Mueller 2023), in [0, 1]
    # and low for suspicious labels; NaN without cleanlab.
    label_quality: np.ndarray
    regions: pyarrow.Table  # columns of `REGIONS`, most suspicious region first

    def scores(self, kind: str) -> np.ndarray:
        """Score of each image's most suspicious region of a kind, float64 `[N]`; 0 without one."""
        mine = np.array(self.regions['kind'].to_pylist(), np.object_) == kind
        rows, scores = (self.regions[name].to_numpy()[mine] for name in ('row', 'score'))
        result = np.zeros(self.num_images)
        np.maximum.at(result, rows, scores)
        return result

    def worst_errors(self) -> dict[int, tuple[float, str]]:
        """Probability and kind of the most probable error of each image that has one, by row."""
        result: dict[int, tuple[float, str]] = {}
        columns = (self.regions[name].to_pylist() for name in ('row', 'probability', 'kind'))
        for row, probability, kind in zip(*columns, strict=True):
            if kind in ERRORS:
                result.setdefault(row, (probability, kind))
        return result

    def firsts(self) -> np.ndarray:
        """Which issues are the most probable ones on their objects, bool `[n]`."""
        seen: set[tuple[int, int]] = set()
        result = np.zeros(len(self.regions), np.bool_)
        columns = (self.regions[name].to_pylist() for name in ('row', 'object'))
        for place, found in enumerate(zip(*columns, strict=True)):
            result[place] = found not in seen
            seen.add(found)
        return result
