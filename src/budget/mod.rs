//! The token buckets of one account and region, what is left of them, and who spent it.
