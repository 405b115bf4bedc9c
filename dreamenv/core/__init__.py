"""What every room stands on: errors, files, devices, statistics. Knows nothing of the rest."""
