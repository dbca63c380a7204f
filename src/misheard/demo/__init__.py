"""The phone prompts, and the demo that walks them once round the loop."""
