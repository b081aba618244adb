"""What any network is fitted with: features, augmented views, this machine, several processes."""
