"""Who draws the segments of a job."""
