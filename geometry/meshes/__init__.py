"""Triangle meshes, reliefs and Gaussian splats of an estimate: which pixels are joined, cuts at silhouettes, surfaces behind them."""
