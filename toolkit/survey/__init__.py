"""Say what a folder of images holds: facts of each image, what is odd about them, and what that means."""
