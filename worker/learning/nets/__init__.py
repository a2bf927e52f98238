"""Networks: the contrastive encoder and the U-Nets."""
