"""Contrastive losses over two views of B slices (Vepa et al., NeurIPS 2024, Section 3.2).

Every loss takes `first` and `second`, the (B, D) embeddings of the two views of the same B slices in the same order,
and works in float32 or wider, whatever autocast says. Similarity is the cosine divided by the temperature. Groups are
given as (B, B) bool masks made from ids, so any batch is legal.
"""

import torch
from torch import Tensor
from torch.nn import functional

from worker.learning.configs import EncoderConfig
from worker.learning.errors import ConfigError, ShapeError


def nt_xent(first: Tensor, second: Tensor, temperature: float, spared: Tensor | None = None) -> Tensor:
    """Give SimCLR's loss, a scalar: each of the 2B views must find the other view of its slice among all others.

    Slices that are `spared` each other, (B, B) bool, are no negatives; None: all others are, as the paper keeps it
    though its group losses pull slices of one patient together. An anchor without negatives adds 0. Source: Chen et
    al., ICML 2020, Eq. 1.
    """
    return _nt_xent_from(_similarities(first, second, temperature), spared)


def group_loss(
    first: Tensor, second: Tensor, related: Tensor, same_patient: Tensor, temperature: float, anchors: str = "both"
) -> Tensor:
    """Give the group loss of Eq. 4, a scalar, for one relation.

    `related` and `same_patient` are (B, B) bool. The positives of an anchor view are all other views of related slices,
    always its own second view too; the denominator holds these positives and all views of other patients, so slices of
    the same patient in other groups are left out. Each anchor averages over its own positives. `anchors`: "both" views
    (the symmetric form), or "first" as printed.
    """
    return _group_loss_from(_similarities(first, second, temperature), related, same_patient, anchors)


def total_loss(
    first: Tensor,
    second: Tensor,
    patient_ids: Tensor,
    volume_ids: Tensor,
    z: Tensor,
    config: EncoderConfig,
    group_ids: Tensor | None = None,
) -> Tensor:
    """Give Eq. 5, a scalar: NT-Xent and the three group losses with the weights of `config`; ids are (B,) integers.

    With `config.legacy` each group loss is `legacy_group_loss`, for which `group_ids` says who was sampled together; it
    is the same for every relation, so only the sum of their weights counts. Raises ConfigError when they are missing.
    """
    similarities = _similarities(first, second, config.temperature)
    same_patient = relation_mask("patient", patient_ids, volume_ids, z)
    loss = similarities.new_zeros(())
    if config.weight_nt_xent > 0:
        spared = same_patient if config.nt_xent_negatives == "other-patients" else None
        loss = loss + config.weight_nt_xent * _nt_xent_from(similarities, spared)
    if config.legacy:
        if group_ids is None:
            raise ConfigError("legacy", config.legacy, "on only where the sampled groups of a batch are known")
        weights = sum(weight for _, weight in config.relation_weights)
        return loss + weights * _legacy_loss_from(similarities, group_ids)
    for relation, weight in config.relation_weights:
        if weight > 0:
            related = relation_mask(relation, patient_ids, volume_ids, z)
            loss = loss + weight * _group_loss_from(similarities, related, same_patient, config.anchors)
    return loss


def relation_mask(relation: str, patient_ids: Tensor, volume_ids: Tensor, z: Tensor) -> Tensor:
    """Give the (B, B) bool mask of slices that stand in `relation`; the diagonal is True.

    "patient" and "volume": equal ids. "slice": same volume and at most one slice apart by true position, so neighbours
    that meet in a batch by accident count too.
    """
    if relation == "patient":
        return patient_ids[:, None] == patient_ids[None, :]
    same_volume = volume_ids[:, None] == volume_ids[None, :]
    if relation == "volume":
        return same_volume
    if relation == "slice":
        return same_volume & ((z[:, None] - z[None, :]).abs() <= 1)
    raise ConfigError("relation", relation, "one of patient, volume, slice")


def legacy_group_loss(first: Tensor, second: Tensor, group_ids: Tensor, temperature: float) -> Tensor:
    """Give the group loss as the paper's published code computes it, a scalar; for comparison only.

    Its mask of positives is all ones, so each of the 2B-1 other views is a positive; each term has that one positive
    and the views outside the anchor's sampled group in its denominator. `group_ids`: (B,), each slice's sampled group.
    """
    return _legacy_loss_from(_similarities(first, second, temperature), group_ids)


def _similarities(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """(2B, 2B) cosine similarities over the temperature, first views before second ones."""
    if first.ndim != 2 or first.shape != second.shape:
        raise ShapeError("embeddings of the second view", f"(B, D) = {tuple(first.shape)}", second.shape)
    with torch.autocast(first.device.type, enabled=False):
        views = torch.cat([first, second])
        # bfloat16 has 8 bits of fraction: too few for differences of log-sums.
        views = views if views.dtype == torch.float64 else views.float()
        unit = functional.normalize(views, dim=1)
        return unit @ unit.T / temperature


def _others(similarities: Tensor) -> Tensor:
    """(2B, 2B) bool, False on the diagonal."""
    return ~torch.eye(len(similarities), dtype=torch.bool, device=similarities.device)


def _nt_xent_from(similarities: Tensor, spared: Tensor | None) -> Tensor:
    slices = len(similarities) // 2
    other_view = torch.arange(2 * slices, device=similarities.device).roll(slices)
    compared = _others(similarities)
    if spared is not None:
        itself = torch.eye(slices, dtype=torch.bool, device=spared.device)
        compared = compared & (~spared | itself).repeat(2, 2)
    return functional.cross_entropy(similarities.masked_fill(~compared, -torch.inf), other_view)


def _legacy_loss_from(similarities: Tensor, group_ids: Tensor) -> Tensor:
    groups = torch.cat([group_ids, group_ids])
    outside = groups[:, None] != groups[None, :]
    negatives = similarities.masked_fill(~outside, -torch.inf).logsumexp(dim=1, keepdim=True)  # (2B, 1)
    terms = torch.logaddexp(similarities, negatives) - similarities
    others = _others(similarities)
    # Not `terms[others]`, for which a GPU has to tell the host how many there are.
    return terms.where(others, 0).sum() / (len(terms) * (len(terms) - 1))


def _group_loss_from(similarities: Tensor, related: Tensor, same_patient: Tensor, anchors: str) -> Tensor:
    slices = len(similarities) // 2
    for name, mask in (("related slices", related), ("same-patient slices", same_patient)):
        if mask.shape != (slices, slices):
            raise ShapeError(name, f"(B, B) = {(slices, slices)}", mask.shape)
    itself = torch.eye(slices, dtype=torch.bool, device=related.device)
    others = _others(similarities)
    positives = (related | itself).repeat(2, 2) & others
    allowed = positives | ~same_patient.repeat(2, 2)
    denominators = similarities.masked_fill(~allowed, -torch.inf).logsumexp(dim=1)  # (2B,)
    mean_positive = (similarities * positives).sum(dim=1) / positives.sum(dim=1)
    losses = denominators - mean_positive
    if anchors == "first":
        losses = losses[:slices]
    elif anchors != "both":
        raise ConfigError("anchors", anchors, "one of both, first")
    return losses.mean()
