"""Options: where the user's file is, which source sets a value, and what the value means."""
