"""What is estimated: problem, data, loss, centre, curvature."""
