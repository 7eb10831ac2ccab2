"""What when one machine is too small? The same calls, spread over blocks of images, processes and machines."""
