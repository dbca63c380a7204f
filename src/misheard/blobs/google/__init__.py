"""What `misheard.blobs.gcs` is made of, and how to log in to Google."""
