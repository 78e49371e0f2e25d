"""Tables with one row for each image: CSV, TSV and Parquet."""
