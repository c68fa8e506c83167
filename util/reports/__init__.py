"""Pages that open by double click: of a face, a folder, a video, a training."""
