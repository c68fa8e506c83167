"""Faces rendered from the face model with their true coefficients: sampling, scene, picture.

sampling     random coefficients, pose, light
scene        head, hair, neck, teeth, glasses around the face
rendering    both as one antialiased picture in front of nothing
compositing  background, occluders, camera
generate     a folder of them; coefficients: the file of their truth
"""
