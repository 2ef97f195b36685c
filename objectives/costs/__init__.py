"""What a file costs to run, beyond what is measured of every file: operations, memory, energy, devices."""
