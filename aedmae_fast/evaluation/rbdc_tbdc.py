"""RBDC and TBDC: are the right regions found, and how many wrong ones beside them?

After Ramachandra and Jones, *Street Scene: A New Dataset and Evaluation Protocol for Video Anomaly Detection*, WACV
2020. At one threshold on the anomaly maps:

* a *detected region* is a connected component of the pixels at or above the threshold;
* a ground-truth region is *detected* if a detected region of its frame has an IoU of at least ``beta`` with it;
* a detected region is a *false positive* if its IoU with every ground-truth region of its frame is below ``beta``;
* a track is detected if at least the fraction ``alpha`` of its regions is.

The curves are the detected fraction of all regions (RBDC) and of all tracks (TBDC) over the false positives per frame;
the figures are the areas under them for 0 to 1 false positives per frame. ``alpha = beta = 0.1``.

What the publication leaves open, and how it is read here:

* A region is the bounding box of its component (8-neighbours), on both sides: the published ground truth is boxes.
* Ground truth comes as masks, so tracks are made of them: regions of consecutive frames belong to one track if their
  components share a pixel. Objects that touch, or whose paths cross, are one track from then on and before. UBnormal
  publishes tracks and which pixels are whose: there a region is one object's in one frame, the largest of its boxes, as
  in the data set's own script.
* The threshold falls until there is more than 1 false positive per frame, and no further: lower down, components merge
  and their number falls again. A rate counts as reached from the fewest false positives that reach it, the curve is
  linear between thresholds, and level where they end before 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse import csgraph
from sklearn.metrics import auc

from aedmae_fast.engine.map_file import Maps
from aedmae_fast.evaluation.auc import bits_of
from aedmae_fast.evaluation.ground_truth import Mask
from aedmae_fast.evaluation.map_store import MapStore

__all__ = ["ALPHA", "BETA", "Curves", "Truth", "area", "boxes_of", "match", "sweep", "thresholds_of", "truth_of"]

ALPHA = BETA = 0.1  # the publication's
THRESHOLDS = 120  # of a sweep over all pixels; it ends before the last one
NEIGHBOURS = np.ones((3, 3), dtype=np.int8)  # a component's pixels touch by edge or corner

Boxes = NDArray[np.float64]  # [n, 4] top, left, bottom, right in pixels of the ground truth, half-open


@dataclass(frozen=True)
class Truth:
    """Ground truth of one clip of T frames with R regions in all, frame by frame."""

    name: str
    size: tuple[int, int]  # H, W of the masks
    boxes: tuple[Boxes, ...]  # T arrays
    tracks: NDArray[np.intp]  # [R] track of each region, from 0; in the order of ``boxes``

    @property
    def track_count(self) -> int:
        return int(self.tracks.max(initial=-1)) + 1


@dataclass(frozen=True)
class Curves:
    """One point per threshold, from the highest threshold down."""

    thresholds: NDArray[np.float64]  # [K]
    false_positives: NDArray[np.float64]  # [K] per frame
    regions: NDArray[np.float64]  # [K] detected fraction of all ground-truth regions
    tracks: NDArray[np.float64]  # [K] detected fraction of all tracks

    @property
    def rbdc(self) -> float:
        return area(self.false_positives, self.regions)

    @property
    def tbdc(self) -> float:
        return area(self.false_positives, self.tracks)


def truth_of(name: str, masks: Iterable[Mask], objects: Iterable[Mapping[int, Mask]] | None = None) -> Truth:
    """Regions and tracks of a clip's masks, bool [H, W] one after the other; two of them are kept at a time.

    Args:
        objects: where tracks are known, for each of the masks the pixels of every track that is in it.

    Raises:
        ValueError: no masks, or masks of different sizes.
    """
    if objects is not None:
        return _truth_of_tracks(name, masks, objects)
    boxes: list[Boxes] = []
    links: list[tuple[int, int]] = []  # pairs of regions that share a pixel in consecutive frames
    before: NDArray[np.int32] | None = None  # [H, W] components of the frame before, numbered from 1
    first = first_before = 0  # index of a frame's first region among all of the clip
    for mask in masks:
        components, _ = ndimage.label(mask, NEIGHBOURS)
        if before is not None:
            if before.shape != components.shape:
                raise ValueError(f"clip {name}: masks of {before.shape} and of {components.shape}")
            shared = (before > 0) & (components > 0)
            pairs = np.unique(np.stack([before[shared], components[shared]]), axis=1)
            links += [(first_before + int(old) - 1, first + int(new) - 1) for old, new in pairs.T]
        boxes.append(_bounding_boxes(components))
        before, first_before = components, first
        first += len(boxes[-1])
    if before is None:
        raise ValueError(f"clip {name}: no masks")
    return Truth(name, before.shape, tuple(boxes), _connected(links, first))


def _truth_of_tracks(name: str, masks: Iterable[Mask], objects: Iterable[Mapping[int, Mask]]) -> Truth:
    size: tuple[int, ...] = ()
    boxes: list[Boxes] = []
    tracks: list[int] = []
    for mask, of_frame in zip(masks, objects, strict=True):
        seen = {track: _largest_box(pixels) for track, pixels in of_frame.items() if pixels.any()}
        boxes.append(np.array(list(seen.values()), dtype=np.float64).reshape(-1, 4))
        tracks += seen
        size = mask.shape
    if len(size) != 2:
        raise ValueError(f"clip {name}: no masks")
    numbers = np.unique(tracks, return_inverse=True)[1]  # a track that is nowhere seen is none
    return Truth(name, size, tuple(boxes), numbers.astype(np.intp))


def _largest_box(pixels: Mask) -> NDArray[np.float64]:
    found = _bounding_boxes(ndimage.label(pixels, NEIGHBOURS)[0])
    largest: NDArray[np.float64] = found[np.prod(found[:, 2:] - found[:, :2], axis=1).argmax()]
    return largest


def _connected(links: Sequence[tuple[int, int]], count: int) -> NDArray[np.intp]:
    """Number of the group that each of ``count`` regions belongs to, groups being what links connect."""
    pairs = np.array(links, dtype=np.intp).reshape(-1, 2)
    graph = sparse.coo_matrix((np.ones(len(pairs), dtype=np.int8), pairs.T), shape=(count, count))
    groups: NDArray[np.intp] = csgraph.connected_components(graph, directed=False)[1].astype(np.intp)
    return groups


def boxes_of(active: Mask, size: tuple[int, int]) -> Boxes:
    """Boxes of the components of bool [h, w], in pixels of a ground truth of ``size`` (H, W) over the same view."""
    components, _ = ndimage.label(active, NEIGHBOURS)
    rows, columns = size[0] / active.shape[0], size[1] / active.shape[1]
    return _bounding_boxes(components) * (rows, columns, rows, columns)


def _bounding_boxes(components: NDArray[np.int32]) -> Boxes:
    found = ndimage.find_objects(components)
    corners = [(rows.start, columns.start, rows.stop, columns.stop) for rows, columns in found]
    return np.array(corners, dtype=np.float64).reshape(-1, 4)


def match(detected: Boxes, truth: Boxes, beta: float = BETA) -> tuple[NDArray[np.bool_], int]:
    """Compare the regions of one frame.

    Args:
        detected: [m, 4]. One of them may detect several ground-truth regions.
        truth: [n, 4].

    Returns:
        bool [n], which ground-truth regions are detected; and the number of false positives among ``detected``.
    """
    a, b = detected[:, None], truth[None]  # [m, 1, 4], [1, n, 4]
    overlap = np.prod((np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])).clip(min=0), axis=-1)
    union = np.prod(a[..., 2:] - a[..., :2], axis=-1) + np.prod(b[..., 2:] - b[..., :2], axis=-1) - overlap
    good = overlap >= beta * union  # [m, n]; as a product, so that no division rounds an IoU of exactly beta
    return good.any(axis=0), int((~good.any(axis=1)).sum())


def thresholds_of(store: MapStore, clips: Iterable[int], count: int = THRESHOLDS) -> NDArray[np.float64]:
    """Thresholds over which the number of pixels, among those of all ``clips``, grows geometrically from 1 to all.

    Returns:
        float64 [at most ``count``], descending, each of them a value that occurs.
    """
    histogram = np.zeros(0x10000, dtype=np.int64)  # by bit pattern
    for clip in clips:
        for values in store.maps(clip):
            histogram += np.bincount(bits_of(values).ravel(), minlength=len(histogram))
    bins = np.flatnonzero(histogram)[::-1]
    over = np.cumsum(histogram[bins])  # pixels at or above
    wanted = np.geomspace(1, over[-1], count).clip(max=over[-1])
    chosen = np.unique(np.searchsorted(over, wanted))
    return bins[chosen].astype(np.uint16).view(np.float16).astype(np.float64)


def sweep(
    store: MapStore,
    truths: Mapping[int, Truth],
    thresholds: Sequence[float] | NDArray[np.float64] | None = None,
    alpha: float = ALPHA,
    beta: float = BETA,
) -> Curves:
    """Sweep a threshold over the maps of some clips.

    Args:
        truths: ground truth by clip, as the clips are numbered in ``store``; other clips do not enter.
        thresholds: default :func:`thresholds_of`.

    Raises:
        ValueError: a clip without maps or with another number of them than of masks, or no ground-truth region at all.
    """
    for clip, truth in truths.items():
        if store.frames(clip) != len(truth.boxes):
            raise ValueError(f"clip {truth.name}: {store.frames(clip)} anomaly maps but {len(truth.boxes)} masks")
    track_of = _number_tracks(truths.values())
    if not len(track_of):
        raise ValueError("no ground-truth region in any clip: RBDC and TBDC are undefined")
    regions_of_track = np.bincount(track_of)
    frames = sum(len(truth.boxes) for truth in truths.values())
    peaks = {clip: store.maps(clip).max(axis=(1, 2)) for clip in truths}  # float16 [T] each
    points: list[tuple[float, float, float, float]] = []
    for threshold in thresholds_of(store, truths) if thresholds is None else sorted(thresholds, reverse=True):
        hits, false_positives = [], 0
        for clip, truth in truths.items():
            for hit, wrong in _frames_at(threshold, store.maps(clip), peaks[clip], truth, beta):
                hits.append(hit)
                false_positives += wrong
        hit_regions = np.concatenate(hits)  # [R of all clips]
        found = np.bincount(track_of, weights=hit_regions) >= alpha * regions_of_track
        points.append((float(threshold), false_positives / frames, float(hit_regions.mean()), float(found.mean())))
        if false_positives > frames:
            break
    return Curves(*np.array(points, dtype=np.float64).T)


def _number_tracks(truths: Iterable[Truth]) -> NDArray[np.intp]:
    """Track of each region of all clips, numbered through, [R of all clips]."""
    numbers: list[NDArray[np.intp]] = [np.zeros(0, dtype=np.intp)]
    before = 0
    for truth in truths:
        numbers.append(truth.tracks + before)
        before += truth.track_count
    return np.concatenate(numbers)


def _frames_at(
    threshold: float, maps: Maps, peaks: NDArray[np.float16], truth: Truth, beta: float
) -> Iterator[tuple[NDArray[np.bool_], int]]:
    """For each frame of a clip: which of its regions are detected, and the number of false positives."""
    for values, peak, boxes in zip(maps, peaks, truth.boxes, strict=True):
        if peak < threshold:
            yield np.zeros(len(boxes), dtype=bool), 0
        elif not len(boxes):
            yield np.zeros(0, dtype=bool), int(ndimage.label(values >= threshold, NEIGHBOURS)[1])
        else:
            yield match(boxes_of(values >= threshold, truth.size), boxes, beta)


def area(false_positives: NDArray[np.float64], rate: NDArray[np.float64], limit: float = 1.0) -> float:
    """Area under a curve from 0 to ``limit`` false positives per frame, divided by ``limit``.

    Args:
        false_positives: [K] per frame, >= 0, in any order.
        rate: [K] detected fraction there. The curve starts at (0, 0).

    Returns:
        The area, in [0, 1].
    """
    order = np.lexsort((rate, false_positives))
    x = np.concatenate([[0.0], false_positives[order]])
    y = np.maximum.accumulate(np.concatenate([[0.0], rate[order]]))
    inside = x <= limit
    at_limit = np.interp(limit, x, y)  # level beyond the last point
    return float(auc([*x[inside], limit], [*y[inside], at_limit])) / limit
