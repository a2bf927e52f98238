"""Experiments: ordinary projects driven over the API, whose annotator is the oracle."""
