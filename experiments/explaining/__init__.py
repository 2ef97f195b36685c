"""What a finished trial is worth: why it is as it is, beside what, how sure, and whether it comes out again."""
