"""The number format of each layer of an exported file."""
