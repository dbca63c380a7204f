"""One cycle as a page: a self-contained HTML report for people who decide."""
