"""What DataComp's competitions need besides recipes: made-up pools, centroids, resharding."""
