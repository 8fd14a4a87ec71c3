"""What people write, checked: events, policies, targets, environment. Every fault is named."""
