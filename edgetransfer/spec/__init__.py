"""What the user asked for: immutable, validated values; no work is done here."""
