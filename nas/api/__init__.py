"""Searches and trainings from Python, with the files of the commands."""
