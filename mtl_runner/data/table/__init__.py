"""Tables as people have them: CSV, TSV and Parquet."""
