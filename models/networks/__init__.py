"""Neural networks: the R-Net that predicts coefficients, and the recognition networks."""
