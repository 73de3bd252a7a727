"""Physics-informed problems: equations whose residuals are loss terms, with known solutions."""
