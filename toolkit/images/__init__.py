"""Read folders of colour and thermal images, whatever their depth, and prepare them for a network."""
