"""Three simulated days of a small account: the real handler against the embedded endpoint."""
