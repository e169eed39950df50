//! Bindings → the shared backend security group and the rules on endpoints' security groups. Pure.
