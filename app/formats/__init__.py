"""File <-> (stack of slices, spacing, affine): one file a format."""
