"""What studies of data and fit found, judged and said in sentences."""
