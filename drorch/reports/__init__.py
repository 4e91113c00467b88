"""What people and machines read about runs; never writes."""
