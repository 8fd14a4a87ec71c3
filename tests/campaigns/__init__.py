"""What is tried in every order and at every call: crashes, two runs at once, two years, made-up input."""
