"""Tests of worker.learning.query."""
