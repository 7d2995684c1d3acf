"""The command that does everything: plan, reference network, search, retraining, ensemble, report."""
