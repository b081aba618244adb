"""What features, labels and decisions say of data and transfer."""
