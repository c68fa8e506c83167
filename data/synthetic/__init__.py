"""Faces rendered from the face model with their true coefficients.

`sampling` draws coefficients, pose and light; `scene` puts head, hair, neck, teeth and glasses
around the face; `rendering` makes both one antialiased picture in front of nothing; `compositing`
adds background, occluders and camera; `generate` fills a folder, with `coefficients` as the file
of its truth.
"""
