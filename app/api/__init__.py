"""The REST API under /v1: one route file a feature."""
