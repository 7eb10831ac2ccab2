"""Where are the lungs? Masks, boxes, crops, and why a mask was rejected."""
