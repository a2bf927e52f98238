"""Tests of worker.learning.losses."""
