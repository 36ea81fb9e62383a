"""The ten-minute run: synthesised corpora and the whole way from recipe to report."""
