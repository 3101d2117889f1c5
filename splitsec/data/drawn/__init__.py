"""Drawn images: fundus photographs and chest X-rays."""
