"""Probes: small fits on stored hidden states, for all layers in one job. They get arrays and know neither encoder nor store."""
