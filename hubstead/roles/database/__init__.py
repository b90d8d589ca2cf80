"""PostgreSQL and the users table."""
