//! What ALBC did with many manifests, recorded, compared with what albacore does with them.
//!
//! ```text
//! cases/NAME/step*.yaml, step*.sh ──► API server ──► albacore ──► AWS double
//! cases/NAME/out/*/state.json ──┐                                   │ state
//! expected/NAME/*/state.json ───┴─► normal form ──► differences ◄── normal form ◄─ names for ids
//! ```
//! `scope.json` says which cases this version is measured by, `ignored.json` which fields are not compared, each with
//! its reason.

pub mod bed;
pub mod case;
pub mod checkpoint;
pub mod compare;
pub mod names;
pub mod normal;
pub mod replay;
pub mod run;
pub mod scope;
pub mod swap;
