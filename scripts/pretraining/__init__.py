"""How the built-in backbone came to be: pictures, what a teacher says of them, the run."""
