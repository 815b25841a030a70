"""What the studies of networks as dynamical systems share."""
