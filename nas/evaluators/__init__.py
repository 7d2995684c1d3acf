"""Proposal -> metrics."""
