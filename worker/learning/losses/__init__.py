"""Training losses: contrastive for the encoder, dense for the segmentation networks."""
