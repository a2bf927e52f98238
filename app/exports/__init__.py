"""Masks out, one file a format: each writes the volumes of a snapshot into an archive that other software opens."""
