"""What users deploy: the built package, the stack, the runtime around it. `make test-deployed` runs these."""
