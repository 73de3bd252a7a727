"""Statistics of a comparison: intervals, paired tests, ranks, Pareto fronts, spreads."""
