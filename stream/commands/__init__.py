"""What the commands take and print. Each imports what it needs when it runs."""
