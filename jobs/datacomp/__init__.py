"""For DataComp's competitions, beside the recipes: synthetic pools, centroids, resharding."""
