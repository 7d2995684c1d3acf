"""Multi-fidelity search: how long the networks of a strategy are trained."""
