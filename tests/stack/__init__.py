"""What is deployed: templates, alarms, permissions, the package."""
