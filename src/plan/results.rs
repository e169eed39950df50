//! What earlier steps of a plan made, so that later ones can name it.

use super::{Made, Ref, StepId};
use crate::model::{ListenerArn, LoadBalancerArn, RuleArn, SecurityGroupId, TargetGroupArn};
use std::collections::BTreeMap;

/// Results of the steps that were done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Results(BTreeMap<StepId, Made>);

/// An id that a step can make.
pub trait MadeBy: Clone {
    /// The id in a result; `None` when that step made something else.
    fn made_by(made: &Made) -> Option<Self>;
}

macro_rules! made_by {
    ($($id:ty: $pattern:pat => $value:expr;)*) => {$(
        impl MadeBy for $id {
            fn made_by(made: &Made) -> Option<Self> {
                match made {
                    $pattern => Some($value.clone()),
                    _ => None,
                }
            }
        }
    )*};
}

made_by! {
    SecurityGroupId: Made::SecurityGroup(id) => id;
    TargetGroupArn: Made::TargetGroup(arn) => arn;
    LoadBalancerArn: Made::LoadBalancer { arn, .. } => arn;
    ListenerArn: Made::Listener(arn) => arn;
    RuleArn: Made::Rule(arn) => arn;
}

impl Results {
    /// Keeps what a step made.
    pub fn record(&mut self, step: StepId, made: Made) {
        self.0.insert(step, made);
    }

    /// The id behind a reference; `None` when its step was not done.
    pub fn resolve<T: MadeBy>(&self, reference: &Ref<T>) -> Option<T> {
        match reference {
            Ref::Known(id) => Some(id.clone()),
            Ref::From(step) => self.0.get(step).and_then(T::made_by),
        }
    }
}
