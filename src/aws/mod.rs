//! The AWS edge: the only place that names `aws_sdk_*`.
