"""One module each, alone: mirrors `lambda_function/`."""
