"""What a worker does on a device besides its operators."""
