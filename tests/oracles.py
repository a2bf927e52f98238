"""Slow twins of the learning core: every loss, metric and selection rule again, in plain loops."""

import math
import random
from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
from torch import Tensor

# --- Segmentation: losses and metrics --------------------------------------------------------------------------------


def loop_softmax(logits: np.ndarray) -> np.ndarray:
    """(B, C, H, W) logits to probabilities, pixel by pixel."""
    result = np.zeros(logits.shape)
    for b, h, w in np.ndindex(logits.shape[0], *logits.shape[2:]):
        values = [float(value) for value in logits[b, :, h, w]]
        highest = max(values)
        powers = [math.exp(value - highest) for value in values]
        result[b, :, h, w] = [power / sum(powers) for power in powers]
    return result


def loop_partial_cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    probabilities = loop_softmax(logits)
    total, count = 0.0, 0
    for b, h, w in np.ndindex(labels.shape):
        if labels[b, h, w] != 255:
            total -= math.log(probabilities[b, labels[b, h, w], h, w])
            count += 1
    return total / max(count, 1)


def loop_batch_dice_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    losses = []
    for value in range(probabilities.shape[1]):
        overlap = predicted = present = 0.0
        for b, h, w in np.ndindex(labels.shape):
            if labels[b, h, w] == 255:
                continue
            p, y = float(probabilities[b, value, h, w]), float(labels[b, h, w] == value)
            overlap += p * y
            predicted += p * p
            present += y * y
        losses.append(1 - (2 * overlap + 1e-5) / (predicted + present + 1e-5))
    return sum(losses) / len(losses)


def loop_dmpls_loss(
    main: np.ndarray, auxiliary: np.ndarray, labels: np.ndarray, share: float, pseudo_weight: float
) -> float:
    first, second = loop_softmax(main), loop_softmax(auxiliary)
    pseudo = np.zeros(labels.shape, dtype=np.int64)
    for b, h, w in np.ndindex(labels.shape):
        mixed = [share * p + (1 - share) * q for p, q in zip(first[b, :, h, w], second[b, :, h, w], strict=True)]
        pseudo[b, h, w] = mixed.index(max(mixed))
    supervised = loop_partial_cross_entropy(main, labels) + loop_partial_cross_entropy(auxiliary, labels)
    consistent = loop_batch_dice_loss(first, pseudo) + loop_batch_dice_loss(second, pseudo)
    return supervised / 2 + pseudo_weight * consistent / 2


def loop_dmsps_loss(
    main: np.ndarray, auxiliary: np.ndarray, labels: np.ndarray, share: float, pseudo_weight: float
) -> float:
    """The same with soft targets, pixel by pixel and class by class."""
    first, second = loop_softmax(main), loop_softmax(auxiliary)
    total = 0.0
    for b, h, w in np.ndindex(labels.shape):
        for p, q in zip(first[b, :, h, w], second[b, :, h, w], strict=True):
            target = share * p + (1 - share) * q
            total -= target * math.log(p) + target * math.log(q)
    supervised = loop_partial_cross_entropy(main, labels) + loop_partial_cross_entropy(auxiliary, labels)
    return supervised / 2 + pseudo_weight * total / labels.size / 2


def loop_scribble_loss(
    main: np.ndarray, auxiliary: np.ndarray, labels: np.ndarray, share: float, weight: float, pseudo_labels: str
) -> float:
    """The loss of strokes and pseudo labels, and of the pixels that are 254 one of their own: they are background."""
    strokes, beyond = labels.copy(), np.full_like(labels, 255)
    for place in np.ndindex(labels.shape):
        if labels[place] == 254:
            strokes[place], beyond[place] = 255, 0
    loss = loop_dmpls_loss if pseudo_labels == "hard" else loop_dmsps_loss
    outside = loop_partial_cross_entropy(main, beyond) + loop_partial_cross_entropy(auxiliary, beyond)
    return loss(main, auxiliary, strokes, share, weight) + outside / 2


def loop_mixed_supervision_loss(
    main: np.ndarray,
    auxiliary: np.ndarray,
    labels: np.ndarray,
    dense: Sequence[bool],
    share: float,
    weight: float,
    pseudo_labels: str = "hard",
) -> float:
    """The slices of each kind sorted out and given to the loss of their kind."""
    masked = [b for b, is_dense in enumerate(dense) if is_dense]
    scribbled = [b for b, is_dense in enumerate(dense) if not is_dense]
    total = 0.0
    if masked:
        for logits in (main[masked], auxiliary[masked]):
            entropy = loop_partial_cross_entropy(logits, labels[masked])
            dice = loop_batch_dice_loss(loop_softmax(logits), labels[masked])
            total += len(masked) / len(dense) * (entropy + dice) / 4
    if scribbled:
        own = main[scribbled], auxiliary[scribbled], labels[scribbled]
        of_scribbles = loop_scribble_loss(*own, share, weight, pseudo_labels)
        total += len(scribbled) / len(dense) * of_scribbles
    return total


def loop_shut_out_background(labels: np.ndarray) -> np.ndarray:
    """(S, S) labels: walk from every foreground stroke over all that is not background; what is left unreached is."""
    if not (labels == 0).any():
        return labels
    height, width = labels.shape
    open_places = [(h, w) for h, w in np.ndindex(height, width) if labels[h, w] not in {0, 255}]
    reached = set(open_places)
    while open_places:
        h, w = open_places.pop()
        for near in ((h + 1, w), (h - 1, w), (h, w + 1), (h, w - 1)):
            if 0 <= near[0] < height and 0 <= near[1] < width and labels[near] != 0 and near not in reached:
                reached.add(near)
                open_places.append(near)
    filled = labels.copy()
    for place in np.ndindex(height, width):
        if labels[place] == 255 and place not in reached:
            filled[place] = 254
    return filled


def loop_counts(prediction: np.ndarray, reference: np.ndarray, value: int) -> list[tuple[int, int, int]]:
    """True positives, false positives and false negatives of one class, slice by slice."""
    rows = []
    for z in range(reference.shape[0]):
        hits = alarms = omissions = 0
        for h, w in np.ndindex(reference.shape[1:]):
            if reference[z, h, w] == 255:
                continue
            said, true = prediction[z, h, w] == value, reference[z, h, w] == value
            hits += bool(said and true)
            alarms += bool(said and not true)
            omissions += bool(true and not said)
        rows.append((hits, alarms, omissions))
    return rows


def loop_confusion(predicted: np.ndarray, reference: np.ndarray, classes: int) -> list[list[int]]:
    """Voxels of each reference class (row) by predicted class (column); unlabelled ones are in none."""
    counts = [[0] * classes for _ in range(classes)]
    for truth, guess in zip(reference.flat, predicted.flat, strict=True):
        if truth != 255:
            counts[truth][guess] += 1
    return counts


def loop_batches(orders: Sequence[Sequence[int]], size: int) -> list[list[int]]:
    """The slices of epoch after epoch, each in its own order; a batch ends when it is full or its epoch is over."""
    batches: list[list[int]] = []
    for order in orders:
        batches.append([])
        for index in order:
            if len(batches[-1]) == size:
                batches.append([])
            batches[-1].append(index)
    return batches


def loop_surface(mask: np.ndarray, *, in_plane: bool) -> list[tuple[int, int, int]]:
    """Voxels of a (Z, H, W) mask with a face neighbour that is not in it."""
    moves = [(0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)] + ([] if in_plane else [(1, 0, 0), (-1, 0, 0)])
    inside = {tuple(int(i) for i in index) for index in np.argwhere(mask)}
    return [p for p in inside if any((p[0] + z, p[1] + y, p[2] + x) not in inside for z, y, x in moves)]


def loop_hd95(prediction: np.ndarray, reference: np.ndarray, spacing: tuple[float, float, float]) -> float | None:
    if not prediction.any() or not reference.any():
        return None
    in_plane = prediction.shape[0] == 1
    first, second = (loop_surface(mask, in_plane=in_plane) for mask in (prediction, reference))

    def directed(points: list[tuple[int, int, int]], others: list[tuple[int, int, int]]) -> float:
        nearest = [
            min(math.sqrt(sum(((a - b) * s) ** 2 for a, b, s in zip(p, q, spacing, strict=True))) for q in others)
            for p in points
        ]
        ordered = sorted(nearest)
        position = 0.95 * (len(ordered) - 1)
        low = math.floor(position)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (position - low) * (ordered[high] - ordered[low])

    return max(directed(first, second), directed(second, first))


def loop_asd(prediction: np.ndarray, reference: np.ndarray, spacing: tuple[float, float, float]) -> float | None:
    """Every surface point of either mask measured to every one of the other."""
    if not prediction.any() or not reference.any():
        return None
    in_plane = prediction.shape[0] == 1
    surfaces = [loop_surface(mask, in_plane=in_plane) for mask in (prediction, reference)]
    distances = [
        min(math.sqrt(sum(((a - b) * s) ** 2 for a, b, s in zip(p, q, spacing, strict=True))) for q in others)
        for points, others in (surfaces, reversed(surfaces))
        for p in points
    ]
    return sum(distances) / len(distances)


# --- Contrastive learning and selection ------------------------------------------------------------------------------


def nt_xent_by_loops(
    first: Tensor, second: Tensor, temperature: float, spared: Callable[[int, int], bool] = lambda _a, _b: False
) -> float:
    """`spared(a, b)` speaks of different slices: then neither is a negative of the other."""
    views = [*first.tolist(), *second.tolist()]
    slices = len(first)
    total = 0.0
    for i, anchor in enumerate(views):
        partner = (i + slices) % (2 * slices)
        others = [
            math.exp(_cosine(anchor, view) / temperature)
            for k, view in enumerate(views)
            if k == partner or (k != i and not spared(i % slices, k % slices))
        ]
        total -= math.log(math.exp(_cosine(anchor, views[partner]) / temperature) / sum(others))
    return total / (2 * slices)


def group_loss_by_loops(
    first: Tensor,
    second: Tensor,
    related: Callable[[int, int], bool],
    patients: Sequence[int],
    temperature: float,
    anchors: str = "both",
) -> float:
    """Eq. 4 view by view; `related(a, b)` speaks of slices."""
    views = [*first.tolist(), *second.tolist()]
    slices = len(first)
    chosen = range(slices) if anchors == "first" else range(2 * slices)
    total = 0.0
    for i in chosen:
        positives, denominator = [], 0.0
        for k in range(2 * slices):
            if k == i:
                continue
            similarity = math.exp(_cosine(views[i], views[k]) / temperature)
            in_group = k % slices == i % slices or related(i % slices, k % slices)
            if in_group:
                positives.append(similarity)
            if in_group or patients[k % slices] != patients[i % slices]:
                denominator += similarity
        total += sum(-math.log(positive / denominator) for positive in positives) / len(positives)
    return total / len(chosen)


def legacy_group_loss_by_loops(first: Tensor, second: Tensor, groups: Sequence[int], temperature: float) -> float:
    """Every one of the 2B - 1 other views is a positive, with itself and the views outside the group below it."""
    views = [*first.tolist(), *second.tolist()]
    slices = len(first)
    total, terms = 0.0, 0
    for i in range(2 * slices):
        outside = sum(
            math.exp(_cosine(views[i], views[k]) / temperature)
            for k in range(2 * slices)
            if groups[k % slices] != groups[i % slices]
        )
        for s in range(2 * slices):
            if s != i:
                positive = math.exp(_cosine(views[i], views[s]) / temperature)
                total -= math.log(positive / (positive + outside))
                terms += 1
    assert terms == 2 * slices * (2 * slices - 1)
    return total / terms


def total_loss_by_loops(
    first: Tensor,
    second: Tensor,
    patients: Sequence[int],
    volumes: Sequence[int],
    z: Sequence[int],
    weights: Sequence[float],
    temperature: float,
    anchors: str,
) -> float:
    """Eq. 5 term by term; `weights` are those of NT-Xent, patient, volume and adjacent slices."""
    relations: list[Callable[[int, int], bool]] = [
        lambda a, b: patients[a] == patients[b],
        lambda a, b: volumes[a] == volumes[b],
        lambda a, b: volumes[a] == volumes[b] and abs(z[a] - z[b]) <= 1,
    ]
    total = weights[0] * nt_xent_by_loops(first, second, temperature)
    for weight, related in zip(weights[1:], relations, strict=True):
        total += weight * group_loss_by_loops(first, second, related, patients, temperature, anchors)
    return total


def k_center_greedy_by_loops(
    points: Sequence[Sequence[float]], centres: Sequence[int], available: Sequence[int], budget: int
) -> tuple[list[int], float]:
    """Picks and cover radius, every distance measured anew for every pick; there must be a centre."""
    chosen = list(centres)
    picks: list[int] = []
    for _ in range(min(budget, len(available))):
        best, best_distance = -1, -1.0
        for candidate in sorted(available):
            if candidate in picks:
                continue
            distance = min(math.dist(points[candidate], points[centre]) for centre in chosen)
            if distance > best_distance:
                best, best_distance = candidate, distance
        picks.append(best)
        chosen.append(best)
    return picks, max(min(math.dist(point, points[centre]) for centre in chosen) for point in points)


def best_cover_radius(points: Sequence[Sequence[float]], centres: Sequence[int], budget: int) -> float:
    """The least cover radius that any `budget` further centres reach, by trying all."""
    return min(
        max(min(math.dist(point, points[centre]) for centre in (*centres, *extra)) for point in points)
        for extra in combinations(range(len(points)), budget)
    )


def possible_mates(
    relation: str, anchor: int, taken: set[int], patients: Sequence[int], volumes: Sequence[int], z: Sequence[int]
) -> set[int]:
    """The slices that may fill the place of `relation` in the anchor's group, fallbacks included."""
    slices = range(len(z))
    volume_mates = {k for k in slices if volumes[k] == volumes[anchor]} - taken
    patient_mates = {k for k in slices if patients[k] == patients[anchor]} - taken
    neighbours = {k for k in volume_mates if abs(z[k] - z[anchor]) == 1}
    if relation == "slice":
        return neighbours or volume_mates or patient_mates
    if relation == "volume":
        return volume_mates or patient_mates
    return patient_mates


def gaussian_blur_by_loops(picture: Sequence[Sequence[float]], sigma: float) -> list[list[float]]:
    """5 x 5 Gaussian with mirrored edges."""
    size = len(picture)

    def mirrored(place: int) -> int:
        place = abs(place)
        return place if place < size else 2 * (size - 1) - place

    weights = [math.exp(-(offset**2) / (2 * sigma**2)) for offset in range(-2, 3)]
    whole = sum(weights) ** 2
    return [
        [
            sum(
                weights[dy + 2] * weights[dx + 2] * picture[mirrored(y + dy)][mirrored(x + dx)] / whole
                for dy in range(-2, 3)
                for dx in range(-2, 3)
            )
            for x in range(size)
        ]
        for y in range(size)
    ]


def _cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(p * q for p, q in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


# --- Uncertainty: scores of one slice's maps (M, N, C, H, W), slice by slice and pixel by pixel -----------------------


def variance_ratio_by_loops(maps: np.ndarray) -> list[float]:
    """The mean over pixels of 1 - (votes of the commonest class) / M."""
    members, slices, classes, height, width = maps.shape
    scores = []
    for n in range(slices):
        total = 0
        for h, w in np.ndindex(height, width):
            votes = [0] * classes
            for m in range(members):
                pixel = maps[m, n, :, h, w].tolist()
                votes[pixel.index(max(pixel))] += 1
            total += members - max(votes)
        scores.append(total / (members * height * width))
    return scores


def mutual_information_by_loops(maps: np.ndarray) -> list[float]:
    """The mean over pixels of H(mean over passes) - mean over passes of H."""
    passes, slices, classes, height, width = maps.shape
    scores = []
    for n in range(slices):
        total = 0.0
        for h, w in np.ndindex(height, width):
            pixels = [maps[t, n, :, h, w].tolist() for t in range(passes)]
            mean = [sum(pixel[c] for pixel in pixels) / passes for c in range(classes)]
            total += _entropy(mean) - sum(_entropy(pixel) for pixel in pixels) / passes
        scores.append(total / (height * width))
    return scores


def predictive_entropy_by_loops(maps: np.ndarray) -> list[float]:
    """The mean over pixels of the entropy of the members' mean."""
    members, slices, classes, height, width = maps.shape
    scores = []
    for n in range(slices):
        total = 0.0
        for h, w in np.ndindex(height, width):
            total += _entropy(
                [sum(maps[m, n, c, h, w].item() for m in range(members)) / members for c in range(classes)]
            )
        scores.append(total / (height * width))
    return scores


def best_batch_by_loops(values: Sequence[float], batches: Sequence[Sequence[int]]) -> list[int]:
    """The batch of highest mean value, the first of equals, its slices by falling value."""
    best: Sequence[int] = batches[0]
    for batch in batches:
        if sum(values[index] for index in batch) / len(batch) > sum(values[index] for index in best) / len(best):
            best = batch
    return sorted(best, key=lambda index: -values[index])


def best_groups_by_loops(values: Sequence[float], shuffled: Sequence[int], size: int) -> list[int]:
    """`shuffled` cut into groups of `size`, the last may be smaller; whole groups by falling mean value."""
    groups: list[list[int]] = []
    for place, index in enumerate(shuffled):
        if place % size == 0:
            groups.append([])
        groups[-1].append(index)
    groups.sort(key=lambda group: -sum(values[index] for index in group) / len(group))
    return [index for group in groups for index in group]


def highest_by_loops(
    candidates: Sequence[int], values: Sequence[float], keys: Sequence[float], budget: int
) -> list[int]:
    """Again and again the candidate of highest value, of equals the one of lowest key."""
    left = list(range(len(candidates)))
    picks: list[int] = []
    while left and len(picks) < budget:
        best = min(left, key=lambda place: (-values[place], keys[place]))
        picks.append(candidates[best])
        left.remove(best)
    return picks


def class_shares_by_loops(maps: np.ndarray) -> list[list[float]]:
    """For each slice and class the share of pixels in which the members' mean is highest for it."""
    members, slices, classes, height, width = maps.shape
    shares = []
    for n in range(slices):
        counts = [0] * classes
        for h, w in np.ndindex(height, width):
            mean = [sum(maps[m, n, c, h, w].item() for m in range(members)) for c in range(classes)]
            counts[mean.index(max(mean))] += 1
        shares.append([count / (height * width) for count in counts])
    return shares


def class_entropies_by_loops(maps: np.ndarray) -> list[list[float]]:
    """For each slice the mean entropy of a pixel, and for each class from 1 on the mean of p_c times that entropy."""
    members, slices, classes, height, width = maps.shape
    rows = []
    for n in range(slices):
        sums = [0.0] * classes
        for h, w in np.ndindex(height, width):
            mean = [sum(maps[m, n, c, h, w].item() for m in range(members)) / members for c in range(classes)]
            sums[0] += _entropy(mean)
            for c in range(1, classes):
                sums[c] += mean[c] * _entropy(mean)
        rows.append([value / (height * width) for value in sums])
    return rows


def power_noise_by_loops(
    scores: Sequence[Sequence[float]], beta: float, generator: np.random.Generator
) -> list[list[float]]:
    """Each score's logarithm plus its own Gumbel draw of scale 1 / beta, row after row."""
    smallest = float(np.finfo(np.float64).tiny)
    return [[math.log(max(score, smallest)) + generator.gumbel(0, 1 / beta) for score in row] for row in scores]


def clasp_columns_by_loops(budget: int, share: float, columns: int, generator: np.random.Generator) -> list[int]:
    """The column of each turn: `share` of them dealt out to columns from 1 on, an odd rest by lot; the others 0."""
    by_class = round(share * budget)
    classes = list(range(1, columns))
    dealt = [value for value in classes for _ in range(by_class // len(classes))]
    lucky = generator.permutation(classes).tolist()[: by_class - len(dealt)]
    return generator.permutation([*dealt, *lucky, *[0] * (budget - by_class)]).tolist()


def clasp_picks_by_loops(scores: Sequence[Sequence[float]], columns: Sequence[int]) -> list[int]:
    """One row a turn, never one twice: the highest in the column of the turn."""
    picks: list[int] = []
    for column in columns:
        best = max((row for row in range(len(scores)) if row not in picks), key=lambda row: scores[row][column])
        picks.append(best)
    return picks


def _entropy(probabilities: Sequence[float]) -> float:
    return -sum(p * math.log(p) for p in probabilities if p > 0)


# --- resizing ---------------------------------------------------------------------------------------------------------


def resize_mask_loops(mask: np.ndarray, size: int) -> np.ndarray:
    """Each cell's most frequent label, 255 aside; of equals the lowest; cells as adaptive pooling cuts them."""
    height, width = mask.shape
    out = np.full((size, size), 255, dtype=np.uint8)
    for row in range(size):
        for column in range(size):
            top, bottom = row * height // size, -((row + 1) * height // -size)
            left, right = column * width // size, -((column + 1) * width // -size)
            counts: dict[int, int] = {}
            for value in mask[top:bottom, left:right].ravel().tolist():
                if value != 255:
                    counts[value] = counts.get(value, 0) + 1
            if counts:
                out[row, column] = min(value for value, count in counts.items() if count == max(counts.values()))
    return out


# --- Strategies with clusters and graphs -----------------------------------------------------------------------------


def typicality_by_loops(points: Sequence[Sequence[float]]) -> list[float]:
    """1 / (mean distance to the K nearest other points + 1e-5), K = half of the points but 1 to 20."""
    if len(points) == 1:
        return [1e5]
    neighbours = max(1, min(20, len(points) // 2))
    result = []
    for i, point in enumerate(points):
        distances = sorted(math.dist(point, other) for k, other in enumerate(points) if k != i)
        result.append(1 / (sum(distances[:neighbours]) / neighbours + 1e-5))
    return result


def typiclust_by_loops(
    points: Sequence[Sequence[float]],
    clusters: Sequence[int],
    annotated: Sequence[int],
    available: Sequence[int],
    budget: int,
) -> list[int]:
    """The picks from clusters of more than five points, least annotated and then largest first, in turn."""

    def of(cluster: int) -> list[int]:
        return [index for index, number in enumerate(clusters) if number == cluster]

    large = [cluster for cluster in sorted(set(clusters)) if len(of(cluster)) > 5]
    large.sort(key=lambda cluster: (len(set(of(cluster)) & set(annotated)), -len(of(cluster))))
    picks: list[int] = []
    turn = 0
    while len(picks) < budget and any(set(of(cluster)) & set(available) - set(picks) for cluster in large):
        open_slices = [i for i in of(large[turn % len(large)]) if i in available and i not in picks]
        if open_slices:
            values = typicality_by_loops([points[i] for i in open_slices])
            picks.append(open_slices[values.index(max(values))])
        turn += 1
    return picks


def cosine_graph_by_loops(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    """Cosines without the diagonal, each column divided by its sum, plus 1 on the diagonal; rows of length 1."""
    size = len(rows)
    cosines = [[_cosine(rows[i], rows[j]) if i != j else 0.0 for j in range(size)] for i in range(size)]
    sums = [sum(cosines[i][j] for i in range(size)) for j in range(size)]
    return [[cosines[i][j] / (sums[j] + 1e-10) + (i == j) for j in range(size)] for i in range(size)]


def graph_network_by_loops(
    rows: Sequence[Sequence[float]],
    graph: Sequence[Sequence[float]],
    layers: Sequence[tuple[Sequence[Sequence[float]], Sequence[float]]],
) -> tuple[list[list[float]], list[float]]:
    """Hidden columns after the ReLU and scores of two graph convolutions A (X W) + b."""

    def convolve(values: Sequence[Sequence[float]], layer: int) -> list[list[float]]:
        weight, bias = layers[layer]
        mapped = [[sum(w * x for w, x in zip(ws, row, strict=True)) for ws in weight] for row in values]
        return [
            [sum(graph[i][k] * mapped[k][j] for k in range(len(rows))) + bias[j] for j in range(len(bias))]
            for i in range(len(rows))
        ]

    hidden = [[max(0.0, value) for value in row] for row in convolve(rows, 0)]
    return hidden, [row[0] for row in convolve(hidden, 1)]


def graph_loss_by_loops(probabilities: Sequence[float], labelled: Sequence[bool]) -> float:
    """-mean log p of the labelled - 1.2 mean log(1 - p) of the others; an empty kind adds nothing."""
    ours = [math.log(p + 1e-10) for p, is_ours in zip(probabilities, labelled, strict=True) if is_ours]
    others = [math.log(1 - p + 1e-10) for p, is_ours in zip(probabilities, labelled, strict=True) if not is_ours]
    return -sum(ours) / max(1, len(ours)) - 1.2 * sum(others) / max(1, len(others))


def vaal_divergence_by_loops(means: Sequence[Sequence[float]], log_variances: Sequence[Sequence[float]]) -> list[float]:
    """For each code the sum over its entries of KL(N(m, v), N(0, 1)) = (m^2 + v - 1 - log v) / 2."""
    return [
        sum((m * m + math.exp(v) - 1 - v) / 2 for m, v in zip(mean, variance, strict=True))
        for mean, variance in zip(means, log_variances, strict=True)
    ]


def vaal_autoencoder_loss_by_loops(
    pictures: np.ndarray,
    rebuilt: np.ndarray,
    means: Sequence[Sequence[float]],
    log_variances: Sequence[Sequence[float]],
    logits: Sequence[float],
    annotated: int,
) -> float:
    """Squared error and divergence, both a picture's element, and -log D; averaged over each kind, both added."""
    elements = pictures[0].size
    apart = vaal_divergence_by_loops(means, log_variances)
    losses = []
    for row in range(len(pictures)):
        pairs = zip(rebuilt[row].ravel().tolist(), pictures[row].ravel().tolist(), strict=True)
        error = sum((ours - true) ** 2 for ours, true in pairs)
        losses.append((error + apart[row]) / elements + math.log(1 + math.exp(-logits[row])))
    ours, others = losses[:annotated], losses[annotated:]
    return sum(ours) / len(ours) + sum(others) / len(others)


def vaal_discriminator_loss_by_loops(logits: Sequence[float], annotated: int) -> float:
    """-mean log D of the first `annotated` - mean log(1 - D) of the others."""
    beliefs = [1 / (1 + math.exp(-logit)) for logit in logits]
    ours = [-math.log(belief) for belief in beliefs[:annotated]]
    others = [-math.log(1 - belief) for belief in beliefs[annotated:]]
    return sum(ours) / len(ours) + sum(others) / len(others)


# --- Selection by lot, by groups and by position; batches of the sampler ---------------------------------------------


def random_picks_by_loops(keys: Sequence[float], available: Sequence[int], budget: int) -> list[int]:
    """Again and again the available slice with the highest key."""
    left = sorted(available)
    picks: list[int] = []
    while left and len(picks) < budget:
        picks.append(max(left, key=lambda index: keys[index]))
        left.remove(picks[-1])
    return picks


def per_volume_picks_by_loops(
    volumes: Sequence[int], annotated: Sequence[int], shuffled: Sequence[int], ranks: Sequence[float], budget: int
) -> list[int]:
    """From the volume with fewest slices annotated or picked, of equals the one of lower rank, its next slice."""
    names = sorted(set(volumes))
    taken = {name: sum(volumes[index] == name for index in annotated) for name in names}
    queues = {name: [index for index in shuffled if volumes[index] == name] for name in names}
    picks: list[int] = []
    while len(picks) < budget and any(queues.values()):
        name = min((name for name in names if queues[name]), key=lambda each: (taken[each], ranks[names.index(each)]))
        picks.append(queues[name].pop(0))
        taken[name] += 1
    return picks


def strata_by_loops(
    volumes: Sequence[int], z: Sequence[int], available: Sequence[int], keys: Sequence[float], budget: int
) -> list[list[int]]:
    """The available slices by relative position, equal ones by key, cut into strata; the first have the odd slices."""

    def position(index: int) -> float:
        own = [z[other] for other in range(len(z)) if volumes[other] == volumes[index]]
        return 0.5 if max(own) == min(own) else (z[index] - min(own)) / (max(own) - min(own))

    key_of = dict(zip(available, keys, strict=True))
    ranked = sorted(available, key=lambda index: (position(index), key_of[index]))
    count = min(budget, len(ranked))
    strata: list[list[int]] = []
    for number in range(count):
        size = len(ranked) // count + (number < len(ranked) % count)
        start = sum(len(stratum) for stratum in strata)
        strata.append(ranked[start : start + size])
    return strata


def foreground_picks_by_loops(
    present: Sequence[Sequence[bool]], budget: int, from_foreground: int, generator: np.random.Generator
) -> list[int]:
    """Rows: a class that an open row shows, then one of its open rows; when none is left, or it is enough, any row."""
    picks: list[int] = []
    while len(picks) < min(from_foreground, budget):
        open_rows = [row for row in range(len(present)) if row not in picks]
        classes = [value for value in range(len(present[0])) if any(present[row][value] for row in open_rows)]
        if not classes:
            break
        value = generator.choice(classes)
        picks.append(int(generator.choice([row for row in open_rows if present[row][value]])))
    rest = generator.permutation([row for row in range(len(present)) if row not in picks])
    return [*picks, *(int(row) for row in rest[: budget - len(picks)])]


def fill_batches_by_loops(patients: Sequence[int], size: int, generator: np.random.Generator) -> list[list[int]]:
    """Places cut into batches: each turn takes one place of the patients with most left, equals by lot."""
    shuffled = generator.permutation(len(patients)).tolist()
    queues = {code: [place for place in shuffled if patients[place] == code] for code in sorted(set(patients))}
    lots = iter(generator.random(len(patients) + len(queues)).tolist())
    lot_of = {code: next(lots) for code in queues}
    batches: list[list[int]] = []
    while any(queues.values()):
        batch: list[int] = []
        while len(batch) < size and any(queues.values()):
            ranked = sorted(
                (code for code in queues if queues[code]), key=lambda code: (-len(queues[code]), lot_of[code])
            )
            for code in ranked[: size - len(batch)]:
                batch.append(queues[code].pop())
                if queues[code]:
                    lot_of[code] = next(lots)
        batches.append(batch)
    return batches


def mean_dice_by_loops(volumes: Sequence[Sequence[float | None]]) -> float | None:
    """Over classes that were scored, then over volumes with one."""
    means = []
    for scores in volumes:
        known = [score for score in scores if score is not None]
        if known:
            means.append(sum(known) / len(known))
    return sum(means) / len(means) if means else None


def bootstrap_error_by_loops(runs: Sequence[Sequence[float]], resamples: int) -> float:
    """Twice the standard deviation (ddof 0) of the mean over runs and drawn units, from the same draws."""
    means = []
    for number in range(resamples):
        places = random.Random(number).choices(range(len(runs[0])), k=len(runs[0]))
        total = 0.0
        for run in runs:
            for place in places:
                total += run[place]
        means.append(total / (len(runs) * len(places)))
    centre = sum(means) / len(means)
    return 2 * math.sqrt(sum((mean - centre) ** 2 for mean in means) / len(means))


def paired_interval_by_loops(differences: Sequence[Sequence[float]], resamples: int) -> tuple[float, float]:
    """The 2.5 and 97.5 % points of the means of drawn units of drawn runs, between two of them in proportion."""
    means = []
    for number in range(resamples):
        draws = random.Random(number)
        total = 0.0
        for run in draws.choices(range(len(differences)), k=len(differences)):
            units = draws.choices(range(len(differences[run])), k=len(differences[run]))
            total += sum(differences[run][unit] for unit in units) / len(units)
        means.append(total / len(differences))
    means.sort()
    ends = []
    for share in (0.025, 0.975):
        place = share * (resamples + 1) - 1
        below = math.floor(place)
        ends.append(means[below] + (place - below) * (means[below + 1] - means[below]))
    return ends[0], ends[1]


def diversity_by_loops(images: np.ndarray, related: Callable[[int, int], bool]) -> float | None:
    """The mean over related pairs of slices of their mean absolute difference, pixel by pixel."""
    values = []
    for a, b in combinations(range(len(images)), 2):
        if related(a, b):
            pixels = zip(images[a].ravel().tolist(), images[b].ravel().tolist(), strict=True)
            differences = [abs(p - q) for p, q in pixels]
            values.append(sum(differences) / len(differences))
    return sum(values) / len(values) if values else None
