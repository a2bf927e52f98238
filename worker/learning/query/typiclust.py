"""TypiClust: the most typical slice of each cluster that has no annotation yet."""

import warnings
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from worker.learning.query.geometry import bring_to_length_one
from worker.learning.query.pool import (
    Features,
    Indices,
    Picks,
    QueryPool,
    list_available,
    read_count,
    refuse_unknown_settings,
)

CLUSTERS = 500  # at most
NEIGHBOURS = 20  # at most
FEW_CLUSTERS = 50  # up to here plain k-means, beyond it mini-batches
SMALLEST_CLUSTER = 6  # slices; a smaller one is an outlier


def pick_by_typiclust(
    pool: QueryPool, budget: int, config: Mapping[str, object], generator: np.random.Generator
) -> Picks:
    """Cluster the features into annotated + budget parts; take the most typical slice of each, least annotated first.

    Source: Hacohen et al., ICML 2022, Algorithm 1; "TypiClust" of Vepa et al., NeurIPS 2024. Input: (N, 512)
    features of a contrastive encoder, brought to length 1; typicality is the inverse mean distance to the
    K <= 20 nearest open slices of the same cluster. Setting "clusters": the most there may be (default 500). Cost:
    k-means O(N·D·k) an iteration, then O(m²·D) for a cluster of m. Departures: features have length 1 as in the
    original (the published code of Vepa et al. forgot it); the encoder is trained by NT-Xent alone, as published, but
    as long and in batches as large as every other strategy's; when every cluster of at least 6 slices is used up, the
    rest is drawn at random. Cold start: the same, with nothing annotated. The value of a pick is its typicality, 0
    where it was drawn.
    """
    refuse_unknown_settings(config, "clusters")
    most = read_count(config, "clusters", CLUSTERS)
    available = list_available(pool, budget)
    features = bring_to_length_one(pool.encoder_features())
    wanted = min(int(pool.annotated.sum()) + budget, most, pool.size)
    clusters = cluster_features(features, wanted, generator)
    chosen, values = _pick_typical(features, clusters, pool, budget)
    rest = np.setdiff1d(available, chosen)
    drawn = generator.permutation(rest)[: budget - len(chosen)]
    return Picks(
        indices=(*chosen, *(int(index) for index in drawn)),
        values=(*values, *(0.0 for _ in drawn)),
        nearest=(None,) * (len(chosen) + len(drawn)),
        cover_radius=None,
    )


def cluster_features(features: Features, wanted: int, generator: np.random.Generator) -> Indices:
    """Give (N,) cluster numbers from 0 of (N, D) features by k-means; fewer than `wanted` where points coincide."""
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    kind = KMeans if wanted <= FEW_CLUSTERS else MiniBatchKMeans
    means = kind(n_clusters=wanted, n_init=1, random_state=int(generator.integers(2**31)))
    # One thread: several add up their sums in the order in which they finish, and the same seed would pick otherwise.
    with threadpool_limits(limits=1, user_api="openmp"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it says that points coincide, which is no fault
        labels = means.fit_predict(features)
    _, numbers = np.unique(labels, return_inverse=True)
    return numbers.astype(np.int64)


def typicality(features: Features) -> npt.NDArray[np.float64]:
    """Give (m,) inverse mean distances of (m, D) points to their K nearest others, K = m // 2 but 1 to 20.

    Infinite density is capped at 1e5. A point alone has typicality 1e5.
    """
    count = len(features)
    if count == 1:
        return np.array([1e5])
    points = features.astype(np.float64)
    squares = np.einsum("md,md->m", points, points)
    distances = np.sqrt(np.maximum(squares[:, None] + squares[None, :] - 2 * points @ points.T, 0))
    np.fill_diagonal(distances, np.inf)
    nearest = max(1, min(NEIGHBOURS, count // 2))
    mean = np.sort(distances, axis=1)[:, :nearest].mean(axis=1)
    inverse: npt.NDArray[np.float64] = 1 / (mean + 1e-5)
    return inverse


def _pick_typical(features: Features, clusters: Indices, pool: QueryPool, budget: int) -> tuple[list[int], list[float]]:
    """Go round the large clusters, least annotated and then largest first, until the budget or all are used up."""
    sizes = np.bincount(clusters)
    annotated = np.bincount(clusters[pool.annotated], minlength=len(sizes))
    order = [number for number in np.lexsort((-sizes, annotated)) if sizes[number] >= SMALLEST_CLUSTER]
    open_slices = {number: np.flatnonzero(pool.available & (clusters == number)) for number in order}
    chosen: list[int] = []
    values: list[float] = []
    while len(chosen) < budget and any(len(members) for members in open_slices.values()):
        for number in order:
            members = open_slices[number]
            if len(members) == 0 or len(chosen) == budget:
                continue
            typical = typicality(features[members])
            best = int(np.argmax(typical))
            chosen.append(int(members[best]))
            values.append(float(typical[best]))
            open_slices[number] = np.delete(members, best)
    return chosen, values
