"""Fine-tuning: a recipe, a job in a process of its own, and the places it can run."""
