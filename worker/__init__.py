"""The workshop: claims jobs, trains networks, proposes slices."""
