"""Backends made the user's: connected, perhaps encrypted, with defaults and progress bars."""
