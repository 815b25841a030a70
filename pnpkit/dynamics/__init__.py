"""Code shared by the studies of networks as dynamical systems: training, plain networks, potentials, trajectories."""
