"""A CLIP of open_clip on one device: its files, its tokens, its pictures, its towers."""
