"""What comes out of a run: data frames, pictures, reports, provenance, files."""
