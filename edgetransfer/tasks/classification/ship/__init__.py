"""What a bundle keeps to change its classes later, and the change."""
