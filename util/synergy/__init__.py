"""SynergyNet's files, and photos and videos through it."""
