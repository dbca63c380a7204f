"""The loop as a durable state machine: one row a cycle, one function a stage."""
