"""The iOS kit, compiled and run by Swift on Linux."""
