"""Simulated scribbles beside the hand-drawn ones of ACDC: the same statistics of both, as a Markdown table.

    python benchmarks/scribble_statistics.py --root $NEXTSLICE_DATA/acdc [--picture /tmp/scribbles.png]

The simulator was fitted on train patients; the table of test patients shows whether it fits others as well. The
picture has 12 slices, hand-drawn above, simulated below; being of real scans it stays out of the repository.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_closing, binary_erosion, binary_fill_holes, distance_transform_edt, label

from app.datasets.acdc import list_acdc
from app.datasets.records import VolumeSource, read_full_mask, read_scribble_mask, read_volume_image
from app.datasets.scribbles import simulate_scribbles

CLASSES = {0: "background", 1: "RV", 2: "Myo", 3: "LV"}
EIGHT = np.ones((3, 3))
Facts = dict[tuple[str, str], list[float]]


def measure(mask: NDArray[np.uint8], drawn: NDArray[np.uint8], facts: Facts) -> None:
    """Add the statistics of one slice: (H, W) dense mask and scribbles."""
    for value, name in CLASSES.items():
        region, strokes = mask == value, drawn == value
        if not region.any():
            continue
        facts[name, "missing, % of slices"].append(100.0 * (not strokes.any()))
        if not strokes.any():
            continue
        facts[name, "pixels"].append(float(strokes.sum()))
        facts[name, "pieces"].append(float(label(strokes, EIGHT)[1]))
        facts[name, "thicker than 2 px, %"].append(100.0 * bool(binary_erosion(strokes, EIGHT).any()))
        if value:
            facts[name, "share drawn, %"].append(100.0 * strokes.sum() / region.sum())
            facts[name, "depth, px"].append(
                float(np.median(distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1][strokes]))
            )
        elif (mask > 0).any():
            heart = distance_transform_edt(mask == 0)
            facts[name, "nearest to the heart, px"].append(float(heart[strokes].min()))
            facts[name, "distance to the heart, px"].append(float(np.median(heart[strokes])))
            bridged = binary_closing(np.pad(strokes, 4), EIGHT, iterations=2)[4:-4, 4:-4]
            facts[name, "closed, % of slices"].append(100.0 * bool((binary_fill_holes(bridged) >= (mask > 0)).all()))


def compare(volumes: list[VolumeSource], seed: int) -> tuple[Facts, Facts, list[tuple[NDArray[np.uint8], ...]]]:
    """Statistics of the hand-drawn and of the simulated scribbles, and some slices of each."""
    real: Facts = defaultdict(list)
    made: Facts = defaultdict(list)
    shown = []
    classes = list_acdc_classes()
    for volume in volumes:
        image = read_volume_image(volume)
        mask = read_full_mask(volume, image.geometry)
        scribble = read_scribble_mask(volume, image.geometry, classes)
        assert mask is not None
        assert scribble is not None
        simulated = simulate_scribbles(mask, seed, volume.name)
        for z in range(len(mask)):
            measure(mask[z], scribble[z], real)
            measure(mask[z], simulated[z], made)
        z = (2 * len(mask)) // 5
        shown.append((image.array[z], mask[z], scribble[z], simulated[z]))
    return real, made, shown


def list_acdc_classes() -> tuple:  # type: ignore[type-arg]
    """The classes of ACDC."""
    from app.datasets.acdc import CLASSES as LABELS

    return LABELS


def print_table(title: str, real: Facts, made: Facts) -> None:
    """5th, 50th and 95th percentile of each (for shares of slices the mean)."""
    print(f"\n**{title}**\n\n| class | | hand-drawn | simulated |\n|---|---|---|---|")
    for name, what in real:
        cells = []
        for facts in (real, made):
            values = facts[name, what]
            shares = what.endswith(("of slices", "2 px, %"))
            low, middle, high = np.percentile(values, [5, 50, 95])
            cells.append(f"{np.mean(values):.1f}" if shares else f"{low:.1f} / **{middle:.1f}** / {high:.1f}")
        print(f"| {name} | {what} | {cells[0]} | {cells[1]} |")


def draw(shown: list[tuple[NDArray[np.uint8], ...]], target: Path) -> None:
    """12 slices, cut to the heart: hand-drawn above, simulated below."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    chosen = shown[:: max(1, len(shown) // 12)][:12]
    figure, axes = plt.subplots(4, 6, figsize=(18, 12.4), layout="constrained")
    colours = np.array([[0.2, 0.9, 1], [1, 0.3, 0.3], [0.3, 1, 0.3], [1, 1, 0.2]])
    for number, (image, mask, *scribbles) in enumerate(chosen):
        rows, columns = np.nonzero(mask) if mask.any() else np.nonzero(mask == 0)
        cut = (slice(max(0, rows.min() - 25), rows.max() + 26), slice(max(0, columns.min() - 25), columns.max() + 26))
        grey = np.clip(image / np.percentile(image, 99), 0, 1)[..., None].repeat(3, axis=2) * 0.7
        for below, scribble in enumerate(scribbles):
            picture = grey.copy()
            picture[scribble != 255] = colours[scribble[scribble != 255]]
            axis = axes[2 * (number // 6) + below, number % 6]
            axis.imshow(picture[cut], interpolation="nearest")
            axis.set_title("simulated" if below else "hand-drawn", fontsize=8)
            axis.axis("off")
    figure.savefig(target, dpi=70)
    print(f"\n{target} is written.")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--splits", default="train,test")
    parser.add_argument("--every", type=int, default=1, help="Look at every n-th volume only.")
    arguments = parser.parse_args()
    listing = list_acdc(arguments.root)
    for split in arguments.splits.split(","):
        volumes = [each for each in listing.volumes if each.split == split and each.scribble_mask is not None]
        volumes = volumes[:: arguments.every]
        real, made, shown = compare(volumes, arguments.seed)
        print_table(f"{split}: {len(volumes)} volumes", real, made)
        if arguments.picture and split == arguments.splits.split(",")[0]:
            draw(shown, arguments.picture)


if __name__ == "__main__":
    main()
