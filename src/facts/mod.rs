//! What we keep of Kubernetes objects: small, comparable; the object itself is dropped.

pub mod object;

pub use object::*;
