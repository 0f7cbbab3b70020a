"""The programs: each turns flags into library calls."""
