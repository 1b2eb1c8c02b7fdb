"""Line-wise corrections, and rules on lines."""
