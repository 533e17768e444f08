"""What a rank tells Redis. Redis is an index: nothing here is ever waited for."""
