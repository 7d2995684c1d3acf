"""One strategy a file; each is a pure function of the history."""
