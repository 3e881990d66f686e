"""Bringing one alert's incident up to date."""
