"""Whether a model got worse: the result of `analysis.check`."""

import dataclasses

from analysis.check.gate import VERDICTS, Outcome


@dataclasses.dataclass(frozen=True)
class Gate:
    """All checks of new training runs against those of the baseline."""

    new: tuple[str, ...]  # run directories
    baseline: tuple[str, ...]
    split: str
    num_images: int  # in common
    # Standard deviation of the IoU between training runs of one recipe that was assumed.
    training_sd: float
    drop: float  # the drop that matters
    outcomes: tuple[Outcome, ...]
    notes: tuple[str, ...]  # what could not be checked, and why
    resolution: str = 'network'  # at which pixels are counted, see `compare.images.resolution`

    def count(self, verdict: str) -> int:
        """Number of checks with one of `VERDICTS`."""
        return sum(one.verdict == verdict for one in self.outcomes)

    @property
    def worse(self) -> bool:
        """Whether any check found a drop."""
        return self.count(VERDICTS[0]) > 0
