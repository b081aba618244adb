"""What only text encoders are fitted with: pairs, names of classes, guessed labels."""
