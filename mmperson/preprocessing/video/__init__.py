"""Video inputs: frames, face detection and tracking."""
