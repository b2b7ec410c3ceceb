"""What only flows share."""
