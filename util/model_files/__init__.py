"""Read the face models and networks that users bring, and write our own."""
