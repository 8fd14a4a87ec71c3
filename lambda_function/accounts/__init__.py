"""Other accounts and Regions: which there are, and how their runs are started."""
