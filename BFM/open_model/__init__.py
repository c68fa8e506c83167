"""How the open face model is built: source files, mesh, geometry bases, albedo."""
