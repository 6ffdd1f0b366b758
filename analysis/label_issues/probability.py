"""How probable it is that a label issue is an error, from its score: logistic regression by kind.

`probability.json` has the coefficients. They were fitted on drawn scenes with planted errors by
`scripts/experiments/fit_probabilities.py`, which also measures on other scenes how well they fit;
the file has the command and the result. On photographs, with other errors and another share of
them, the probabilities are not calibrated: they only order the issues.
"""

import dataclasses
import functools
import json
import pathlib

import msgspec
import numpy as np
from scipy.special import expit, logit

from analysis.label_issues.schema import KINDS

FILE = pathlib.Path(__file__).with_name('probability.json')
LIKELY = 0.5  # issues from this probability on come first in lists
# Why the number must not be taken at its word; shown wherever probabilities are.
CAVEAT = (
    'Probabilities were calibrated on drawn scenes with planted errors. On photographs they order '
    'the issues, and the expected number of errors is only a rough guess.'
)
_STRENGTH = 1.0  # inverse of the L2 penalty


@dataclasses.dataclass(frozen=True)
class Model:
    """Coefficients of `features` for the log-odds of one kind of issue."""

    intercept: float
    coefficients: list[float]
    issues: int  # that it was fitted to
    errors: int  # of them


def features(score: np.ndarray, area: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """What the log-odds are linear in, float64 `[n, 3]`.

    If their number changes, so must that of the coefficients in the file, before they are fitted
    again: the stage reads it.

    Args:
      score, area, confidence: `[n]`, columns of `schema.REGIONS`.
    """
    odds, seen = (logit(np.clip(share, 0.001, 0.999)) for share in (score, confidence))
    return np.column_stack([odds, np.log(np.maximum(area, 0.01)), seen])


def fit(kinds: np.ndarray, described: np.ndarray, real: np.ndarray) -> dict[str, Model]:
    """Fits the models of the kinds that occur, from issues whose truth is known.

    Args:
      kinds: of n issues, each one of `KINDS`.
      described: their `features`.
      real: bool `[n]`, whether each is an error.

    Raises:
      ValueError: the issues of a kind are all errors, or none is.
    """
    from sklearn.linear_model import LogisticRegression  # here, as it takes long to import

    models = {}
    for kind in KINDS:
        mine = kinds == kind
        if not mine.any():
            continue
        if len(np.unique(real[mine])) < 2:
            raise ValueError(f'All or none of {mine.sum()} {kind!r} are errors: use more scenes.')
        model = LogisticRegression(C=_STRENGTH, max_iter=1000).fit(described[mine], real[mine])
        models[kind] = Model(
            round(float(model.intercept_[0]), 4),
            np.round(model.coef_[0], 4).tolist(),
            int(mine.sum()),
            int(real[mine].sum()),
        )
    return models


@functools.cache
def fitted() -> dict[str, Model]:
    """The models in `probability.json`."""
    return msgspec.convert(json.loads(FILE.read_text())['models'], dict[str, Model])


def predict(
    kinds: np.ndarray, described: np.ndarray, models: dict[str, Model] | None = None
) -> np.ndarray:
    """Probability that each issue is an error, float64 `[n]`; arguments as of `fit`."""
    result = np.zeros(len(kinds))
    for kind, model in (fitted() if models is None else models).items():
        mine = kinds == kind
        result[mine] = expit(model.intercept + described[mine] @ np.array(model.coefficients))
    return result
