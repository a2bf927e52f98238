"""What scribbles say about the pixels that they do not touch."""

import numpy as np
import torch
from scipy.ndimage import label
from torch import Tensor

from worker.learning.shapes import UNLABELLED, LabelArray

SHUT_OUT = 254  # in labels on their way to a loss: background by conclusion, which no annotator drew


def mark_shut_out_background(labels: Tensor) -> Tensor:
    """Give labels (n, S, S) uint8 in which every unlabelled pixel that a background stroke shuts out is 254.

    Annotators draw the background as a line round the structures, and every structure that is there gets a stroke. So
    what cannot be reached from any foreground stroke without crossing a background one holds no structure. A step goes
    to one of four neighbours, so that a diagonal line is no gap. Where the line has a gap the outside is reached, and
    nothing there changes; where only background was drawn, there is only background. Labels that were drawn stay.
    """
    return torch.from_numpy(np.stack([_label_slice(plane) for plane in labels.numpy(force=True)]))


def _label_slice(labels: LabelArray) -> LabelArray:
    background = labels == 0
    if not background.any():
        return labels
    regions, _ = label(~background)
    reached = np.unique(regions[~background & (labels != UNLABELLED)])
    shut_out = (labels == UNLABELLED) & ~np.isin(regions, reached)
    filled: LabelArray = np.where(shut_out, SHUT_OUT, labels).astype(np.uint8)
    return filled
