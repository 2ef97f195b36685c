"""What trials teach: how far a trained policy is from what was added up before."""
