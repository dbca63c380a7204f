"""One person's data, deleted from every room, with a record that it was."""
