"""The page that shows a run: what it tells as plain data, and how that becomes one HTML file."""
