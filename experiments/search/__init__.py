"""The command that searches: from a configuration to arch.json and a report."""
