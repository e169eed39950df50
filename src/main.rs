//! The albacore controller.

fn main() {}
