"""Data sets on disk -> one list of volumes, whatever the layout: one file a data set."""
