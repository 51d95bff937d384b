"""The tests mirror aiotls/; this file keeps another installed package named ``tests`` out of the way."""
