//! Flags and environment → typed configuration; every error of a bad configuration at once.
