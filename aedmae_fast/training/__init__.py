"""Training: cached clips and synthetic anomalies in, a checkpoint out."""
