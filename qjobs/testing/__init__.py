"""Shipped test kit, so that others can test their own adapter."""
