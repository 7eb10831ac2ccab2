"""Where are the lungs? Masks, boxes, crops, and a flag for each image that could not be trusted."""
