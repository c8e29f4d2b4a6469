"""Workflow: which notebook runs with which setting, what that costs, and how it is run, here or on a cluster."""
