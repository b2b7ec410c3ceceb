"""What the service keeps: projects, documents, and jobs with their items."""
