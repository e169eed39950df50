//! The facts as several tasks of the process see them: one takes changes in, the others read.

use super::Cluster;
use crate::model::Settings;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All facts; clones share them.
#[derive(Clone, Debug)]
pub struct Facts(Arc<Mutex<Cluster>>);

impl Facts {
    /// None yet.
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(Mutex::new(Cluster::new(settings))))
    }

    /// The facts as they are now. Never held over an await.
    pub fn cluster(&self) -> MutexGuard<'_, Cluster> {
        // A holder that panicked left data that is still whole: each change is one assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
