"""PostgreSQL: connections, migrations, statements. No other package knows the driver."""
