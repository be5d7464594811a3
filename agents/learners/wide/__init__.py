"""Fits of the wide part: a linear model of all impressions kept, by Newton steps, anew at each training."""
