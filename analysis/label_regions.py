"""Regions whose label may be wrong: what they look like to the network, and which labels surprise.

Regions of four kinds are compared with each other over a whole set of images: the annotated
instances of the label space's classes, the same shapes mirrored onto unlabelled background,
annotated things of other categories (background too), and the connected regions that the network
predicts. From a few numbers about a region (how much of each
class the network sees in it, its size, place and shape) regressions learn what its label usually
is, cross-fitted: an image is judged by regressions that were fitted to other images. So the usual
mistakes of the network are no news, by class and by size, and images that are merely hard do not
flood the list.

On drawn scenes with planted errors (seed 0; 1,800 scenes that the network had not seen, IoU over
the set 0.31 for persons and 0.46 for cars; 2 % of the images of each kind; average precision over
images), what was tried:

wrong class       0.82 (0.91 if images with other errors are left out); cleanlab's softmin 0.14
                  (0.15). Ranking by the ratio of the two classes' probabilities instead lost a
                  quarter: it also finds what is no object at all.
sloppy outline    0.83; softmin 0.03. Nothing that compares outline and prediction gets above 0.06,
                  as this network's outlines are blurred; what works is that a hasty outline is
                  shorter than others of its class and size, and that there is no edge in the
                  picture where it runs. In a first form (together 0.67) either alone: 0.29, 0.55.
missing instance  0.12; softmin 0.02. Far from good: the most frequent false alarms are posters with
                  people, which this network cannot tell from people, and 23 % of the images have
                  no separate prediction where the person is. What is left of a prediction beside an
                  annotated instance is no help (0.04: mostly blur), and averaged responses of the
                  network's layers are hardly any (0.12 to 0.16 where 0.13 was without them).
spurious label    0.22 for all three errors together; softmin 0.13. Without mirrored shapes 0.15.
"""

import dataclasses

import numpy as np
from pycocotools import mask as mask_utils
from scipy import ndimage, stats
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from segmentation.labels import IGNORE

KINDS = ('missing instance', 'wrong class', 'spurious label', 'sloppy outline', 'ambiguous')
# 'ambiguous' says that an image is hard, not that its label is wrong.
ERRORS = KINDS[:4]
_SMALLEST = 0.002  # share of the picture; smaller regions are not looked at
_JUDGED = 0.005  # smaller instances are too often missed to be judged (9×9 pixels of 128×128)
_FOLDS = 5
_LEAST = 0.2  # score of an issue
_UNCERTAIN = 0.7  # entropy, as a share of the largest, from which pixels are ambiguous


@dataclasses.dataclass(frozen=True)
class Instance:
    """An annotated object at the network's resolution; class 0 if it is in no class."""

    annotation_id: int
    label: int
    crowd: bool
    mask: np.ndarray  # bool [S, S], where it is seen


@dataclasses.dataclass(frozen=True)
class Region:
    """A region of image number `image` of the set.

    Attributes:
      source: 'annotated', 'predicted', 'ambiguous' or 'mirrored' (an annotated shape on the other
        side of the picture, on unlabelled background).
      given: the class that its label says (of a predicted region: of most of its pixels); -1 if it
        is partly labelled and so says nothing.
      predicted: most probable class over the region.
      annotation_id: of an annotated region, else -1.
      rle: the mask [S, S] as compressed RLE (pycocotools).
      area: share of the picture.
      seen: [C], mean probability of each class.
      entropy: mean entropy of its pixels as a share of the largest.
      features: float [2C + 7], see `_describe`; the last is the share that lies on annotated things
        of other categories (0 unless predicted).
      outline: length and alignment, see `outline_of`; NaN if too small.
    """

    image: int
    source: str
    given: int
    predicted: int
    annotation_id: int
    rle: bytes
    area: float
    seen: np.ndarray
    entropy: float
    features: np.ndarray
    outline: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Issue:
    """A region that speaks for an error of a kind; `score` in [0, 1], larger is more suspicious."""

    region: Region
    kind: str
    score: float
    suggested: int  # the class that it should have by the network; for outlines the given one


def find_regions(
    number: int,
    image: np.ndarray,
    label: np.ndarray,
    probability: np.ndarray,
    instances: list[Instance],
) -> list[Region]:
    """The regions of an image.

    Args:
      number: of the image.
      image: uint8 `[S, S, 3]`.
      label: uint8 `[S, S]`, 255 for pixels that do not count.
      probability: float32 `[S, S, C]`, of the network.
      instances: all annotated objects, those of other categories too.
    """
    num_classes = probability.shape[-1]
    smallest = max(8, _SMALLEST * label.size)
    counted = label != IGNORE
    crowd, other = np.zeros_like(counted), np.zeros_like(counted)
    edges = edge_strength(image)
    entropy = -(probability * np.log(probability.clip(1e-9))).sum(-1) / np.log(num_classes)
    found = []

    def add(source, given, annotation_id, mask, outlined=False):
        share = [float(other[mask].mean()) if source == 'predicted' else 0.0]
        seen = probability[mask]
        outline = (np.nan, np.nan)
        if outlined and mask.sum() >= _JUDGED * label.size:
            outline = outline_of(mask, edges)
        found.append(
            Region(
                image=number,
                source=source,
                given=given,
                predicted=int(seen.mean(0).argmax()),
                annotation_id=annotation_id,
                rle=mask_utils.encode(np.asfortranarray(mask, np.uint8))['counts'],
                area=float(mask.mean()),
                seen=seen.mean(0),
                entropy=float(entropy[mask].mean()),
                features=np.concatenate([_describe(mask, seen), share]),
                outline=outline,
            )
        )

    for instance in instances:
        mask = instance.mask & counted
        if instance.crowd:
            crowd |= mask
        elif instance.label == 0:
            other |= mask
        if not instance.crowd and mask.sum() >= smallest:
            add('annotated', instance.label, instance.annotation_id, mask, instance.label > 0)
            # The same shape elsewhere, so that background is known even without other categories.
            mirrored = mask[:, ::-1] & counted
            if instance.label and mirrored.any() and not label[mirrored].any():
                add('mirrored', 0, -1, mirrored)
    predicted = np.where(counted, probability.argmax(-1), 0)
    for value in range(1, num_classes):
        for mask in _components(predicted == value, smallest):
            if crowd[mask].any():
                continue  # single objects of a crowd are not annotated
            # Blurred predictions spill over; a region between the two says nothing.
            given = -1
            if (label[mask] == value).mean() >= 0.5:
                given = value
            elif (label[mask] > 0).mean() < 0.1:
                given = 0
            add('predicted', given, -1, mask)
    # Every outline is uncertain: only what is wider than that.
    wide = ndimage.binary_opening((entropy > _UNCERTAIN) & counted, np.ones((5, 5)))
    for mask in _components(wide, smallest):
        values = np.bincount(label[mask], minlength=num_classes)
        add('ambiguous', int(values.argmax()), -1, mask)
    return found


def _components(mask: np.ndarray, smallest: float) -> list[np.ndarray]:
    """Connected parts (4 neighbours) with at least so many pixels."""
    numbers, _ = ndimage.label(mask)
    areas = np.bincount(numbers.ravel())
    return [numbers == k for k in range(1, len(areas)) if areas[k] >= smallest]


def _logit(share: np.ndarray) -> np.ndarray:
    share = np.clip(share, 1e-4, 1 - 1e-4)
    return np.log(share / (1 - share))


def _describe(mask: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Log-odds of the mean and of the largest probability per class; size, place, shape.

    Args:
      mask: bool `[S, S]`.
      seen: float32 `[area, C]`.
    """
    rows, cols = np.nonzero(mask)
    height, width, side = np.ptp(rows) + 1, np.ptp(cols) + 1, len(mask)
    area = len(rows)
    shape = [
        *(np.log(area / mask.size), np.sqrt(area) / side, rows.mean() / side, cols.mean() / side),
        *(np.log(height / width), area / (height * width)),
    ]
    return np.concatenate([_logit(seen.mean(0)), _logit(seen.max(0)), shape])


def edge_strength(image: np.ndarray) -> np.ndarray:
    """Length of the Sobel gradient over all channels of uint8 `[S, S, 3]`; float32 `[S, S]`."""
    pixels = image.astype(np.float32)
    return np.sqrt(sum(np.square(ndimage.sobel(pixels, axis)).sum(-1) for axis in (0, 1)))


def outline_of(mask: np.ndarray, edges: np.ndarray) -> tuple[float, float]:
    """Two numbers about an outline that need no network.

    Args:
      mask: bool `[S, S]`.
      edges: of `edge_strength`.

    Returns:
      Its length relative to the square root of the area, and the share of its pixels (the two
      rings inside and outside of the border) with a stronger edge than three quarters of the
      pixels up to 5 from it.
    """
    line = ndimage.binary_dilation(mask) & ~ndimage.binary_erosion(mask, border_value=1)
    band = ndimage.binary_dilation(mask, iterations=5) & ~line
    band &= ~ndimage.binary_erosion(mask, iterations=5)
    if not line.any() or not band.any():
        return np.nan, np.nan
    aligned = (edges[line] > np.quantile(edges[band], 0.75)).mean()
    return float(line.sum() / np.sqrt(mask.sum())), float(aligned)


def _cross_fit(features: np.ndarray, target: np.ndarray, image: np.ndarray, num_classes: int):
    """Probability of each class as a target, `[n, C]`, by regressions fitted to other images.

    Args:
      features: `[n, F]`.
      target: int `[n]`, or -1 where a region is judged but not learnt from.
      image: int `[n]`, number of the image of each.
      num_classes: C.
    """
    result = np.zeros((len(target), num_classes))
    for fold in range(_FOLDS):
        here = image % _FOLDS == fold
        learnt = ~here & (target >= 0)
        values = np.unique(target[learnt])
        if not here.any() or not len(values):
            continue
        if len(values) == 1:
            result[here, values[0]] = 1
            continue
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
        model.fit(features[learnt], target[learnt])
        result[np.ix_(here, values)] = model.predict_proba(features[here])
    return result


def _outline_scores(
    features: np.ndarray, outline: np.ndarray, given: np.ndarray, image: np.ndarray
) -> np.ndarray:
    """How unusually short and off the picture's edges each outline is, `[n]` in [0, 1].

    The residuals of both numbers given class, size and crowding, in standard deviations, summed
    and compared with Student's t of 4 degrees, as residuals have heavy tails.
    """
    crowding = np.bincount(image)[image]
    given_these = np.column_stack([features, given, crowding])
    total = np.zeros(len(image))
    for column in outline.T:
        residual = np.zeros(len(image))
        for fold in range(_FOLDS):
            here = image % _FOLDS == fold
            if not here.any() or here.all():
                continue
            model = HistGradientBoostingRegressor(max_iter=60, max_depth=3, random_state=0)
            # One thread: on so few rows OpenMP's threads, waiting for each other, take 100 times
            # as long where other processes are busy.
            with threadpool_limits(1):
                model.fit(given_these[~here], column[~here])
                residual[here] = column[here] - model.predict(given_these[here])
        total -= residual / max(residual.std(), 1e-9)
    return stats.t.cdf(total / np.sqrt(2), 4)


def judge(regions: list[Region], num_classes: int) -> list[Issue]:
    """Compares the regions of a whole set of images; the most suspicious first.

    Args:
      regions: of `find_regions`, of all images.
      num_classes: C, background included.

    Returns:
      Issues with a score above 0.2, outlines above 0.5; a region may speak for several kinds.

      missing instance: probability that a predicted region like this, in its class, is labelled;
        it is not.
      wrong class: probability that an instance like this is of another foreground class.
      spurious label: probability that it is background.
      sloppy outline: 1 - the share of outlines that would be so short and so far from edges.
      ambiguous: mean entropy (share of the largest) times area / (area + 2 % of the picture).
    """
    if not regions:
        return []
    source = np.array([region.source for region in regions])
    given = np.array([region.given for region in regions])
    image = np.array([region.image for region in regions])
    features = np.array([region.features for region in regions])
    issues = []

    # Which label a region has: annotated ones and predictions together. (Whether it lies on
    # another annotated thing is left out: that would give those away.)
    chosen = np.flatnonzero(source != 'ambiguous')
    labelled = _cross_fit(features[chosen, :-1], given[chosen], image[chosen], num_classes)
    for k, probability in zip(chosen, labelled, strict=True):
        region = regions[k]
        if region.source != 'annotated' or region.given == 0 or region.area < _JUDGED:
            continue
        for suggested, score in enumerate(probability.tolist()):
            if suggested != region.given and score > _LEAST:
                kind = 'wrong class' if suggested else 'spurious label'
                issues.append(Issue(region, kind, score, suggested))

    # Whether a prediction is right, class by class.
    predicted = np.array([region.predicted for region in regions])
    for value in range(1, num_classes):
        chosen = np.flatnonzero((source == 'predicted') & (predicted == value))
        target = np.where(given[chosen] < 0, -1, (given[chosen] > 0).astype(np.int64))
        confident = features[chosen][:, [value, num_classes + value]]
        size = features[chosen][:, [2 * num_classes + 1]]
        described = np.hstack([confident, features[chosen][:, 2 * num_classes :], confident * size])
        right = _cross_fit(described, target, image[chosen], 2)[:, 1]
        for k, probability in zip(chosen, right, strict=True):
            if regions[k].given == 0 and probability > _LEAST:
                issues.append(Issue(regions[k], 'missing instance', float(probability), value))

    outline = np.array([region.outline for region in regions])
    chosen = np.flatnonzero(~np.isnan(outline).any(1))
    if len(chosen):
        size = features[chosen, 2 * num_classes : 2 * num_classes + 1]
        scores = _outline_scores(size, outline[chosen], given[chosen], image[chosen])
        for k, score in zip(chosen, scores, strict=True):
            if score > 0.5:
                issues.append(Issue(regions[k], 'sloppy outline', float(score), regions[k].given))

    for k in np.flatnonzero(source == 'ambiguous'):
        region = regions[k]
        score = region.entropy * region.area / (region.area + 0.02)
        issues.append(Issue(region, 'ambiguous', score, region.predicted))
    return sorted(issues, key=lambda issue: -issue.score)
