//! TargetGroupBindings: endpoints → targets, registered and deregistered.
