"""The routes of Quantinuum Nexus."""
