//! Facts → intent and problems. Pure.
