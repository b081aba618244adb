"""The tasks: what a label is, how it is fitted, judged and shown; a folder each."""
