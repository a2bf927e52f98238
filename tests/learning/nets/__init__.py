"""Tests of worker.learning.nets."""
