"""One class for each supported data set."""
