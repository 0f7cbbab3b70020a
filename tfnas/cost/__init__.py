"""What a network costs: counts, latency tables, expected cost, objectives."""
