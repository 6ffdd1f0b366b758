"""Which images to label next: the result of `analysis.label_next`."""

import dataclasses
from typing import ClassVar

import pyarrow

from analysis.stage.artifacts import Result
from analysis.stage.view import Parts

# Name, type, unit and description of the columns of the ranking.
RANKING = pyarrow.schema(
    [
        pyarrow.field(name, kind, metadata={'unit': unit, 'description': about})
        for name, kind, unit, about in (
            ('rank', pyarrow.int64(), '', '1 is to be labeled first'),
            ('row', pyarrow.int64(), '', 'of the image in the view'),
            ('image_id', pyarrow.int64(), '', 'of the image'),
            ('folder', pyarrow.string(), '', 'name of the folder that the image is from'),
            ('file_name', pyarrow.string(), '', 'path of the image in its folder'),
            ('uncertainty', pyarrow.float64(), 'nats',
             'mean entropy of the predicted distribution over the pixels'),
            ('distance', pyarrow.float64(), '0–2',
             'to the nearest image that is labeled or ranked before, in embedding space'),
            ('score', pyarrow.float64(), 'nats', 'uncertainty · distance'),
        )
    ]
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class LabelNext(Result):
    """A ranked list of images without annotations."""

    NAME: ClassVar[str] = 'label_next'
    VERSION: ClassVar[int] = 1
    PARTS: ClassVar[Parts] = Parts.FOLDER

    labeled: tuple[str, ...]  # the parts with annotations, whose images need not be labeled again
    num_labeled: int
    num_unlabeled: int
    # Median distance of the unlabeled images to the nearest labeled one, now and once all ranked
    # images are labeled.
    median_distance: tuple[float, float]
    ranking: pyarrow.Table  # columns of `RANKING`, in the order of the ranks
