"""Images on a device, and the views of them that are trained on."""
