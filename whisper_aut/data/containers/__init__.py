"""What audio a file holds: counted where its header does not say, and read where libsndfile alone cannot."""
