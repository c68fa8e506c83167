"""Read and write triangle meshes: obj, ply, glb, usdz, with colours, maps and motion."""
