"""What a network is asked for: loss, metrics and inference of a task."""
