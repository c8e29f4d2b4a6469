"""Results: one tidy table a run, intervals on its numbers, contrasts between numbers, and what the claims say of them."""
