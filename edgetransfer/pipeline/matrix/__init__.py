"""Many builds: backbones x seeds, here or on Ray."""
