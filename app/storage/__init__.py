"""Where bytes rest: blobs, slice packs and masks."""
