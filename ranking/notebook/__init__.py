"""What `ranking.catalog` hands out: queries, rankings, subsets and pictures of pairs."""
