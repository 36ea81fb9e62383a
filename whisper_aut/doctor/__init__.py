"""What works here, and on each machine of a hostfile: examine (this one), report (as JSON), nodes (all, over ssh)."""
