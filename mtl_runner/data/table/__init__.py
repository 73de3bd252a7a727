"""Tables: columns of a CSV or Parquet file as features and targets."""
