"""Video: depth made temporally stable, camera movement, shot cuts and value ranges."""
