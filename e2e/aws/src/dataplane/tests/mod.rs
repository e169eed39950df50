//! The data plane with real sockets on loopback: clients, load balancers and targets each on an address of their own.

mod change;
mod health;
mod kit;
mod request;
mod security;
