"""Benchmarks of 3D faces: what `evaluate.py` measures, and the methods that it measures."""
