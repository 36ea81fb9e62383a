"""The report that decides whether a checkpoint ships: HTML, Markdown, JSON, and the gate."""
