//! What is tested inside the namespace. Each test has the second byte of its addresses for itself.

mod alone;
mod health;
mod identity;
mod place;
mod serve;
mod traffic;
