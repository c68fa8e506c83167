"""Reading and writing of every file format but images: checkpoints, meshes, coefficients."""
