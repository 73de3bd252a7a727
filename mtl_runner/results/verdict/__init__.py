"""The verdict on each strategy, in numbers and in plain English."""
