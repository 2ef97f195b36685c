"""What an exported file is worth: accuracy, bytes, latency."""
