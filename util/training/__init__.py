"""A training run: its loop, its checkpoints, its log, its processes."""
