"""Property tests: whatever a file or message holds, it is read or refused in one line."""
