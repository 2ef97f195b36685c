"""What single decisions cost, and the best policies if that simply added up."""
