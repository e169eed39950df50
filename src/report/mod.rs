//! Intent, observed and problems → status, conditions, event notes. Pure.
