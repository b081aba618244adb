"""What classification is judged by: metrics, comparisons and gates."""
