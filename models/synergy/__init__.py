"""SynergyNet: 3DMM parameters and 3D landmarks in a cycle (Wu, Xu, Neumann, 3DV 2021)."""
