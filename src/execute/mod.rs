//! Spends budget on the steps of a plan and folds each result back into what was observed.
