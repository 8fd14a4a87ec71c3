"""User input, checked: events, policies, targets, environment. Every fault is named."""
