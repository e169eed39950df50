//! Which image name means which executable of this machine.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::namespace;

/// The image of a small HTTP server that says which pod it is and what it was asked; see [`crate::Image::demo`].
pub const DEMO_IMAGE: &str = "albacore-demo-http";

/// What a container of an image runs.
#[derive(Clone, Debug)]
pub struct Image {
    /// A program of this machine, which plays the image's entry point.
    pub executable: PathBuf,
    /// Arguments when the container gives none (the image's `CMD`).
    pub args: Vec<String>,
    /// The image's own environment; the container's goes over it.
    pub env: BTreeMap<String, String>,
}

impl Image {
    /// An image that runs `executable`.
    pub fn new(executable: impl Into<PathBuf>) -> Self {
        Self {
            executable: executable.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
        }
    }

    /// The demo server, a part of this very program.
    pub(crate) fn demo() -> Result<Self> {
        let executable = std::env::current_exe().context("cannot tell the path of this program")?;
        let (name, value) = namespace::part(namespace::DEMO);
        Ok(Self {
            env: BTreeMap::from([(name, value)]),
            ..Self::new(executable)
        })
    }
}

/// Finds an image by its full name, or by its name without tag and digest.
pub(crate) fn find<'a>(images: &'a BTreeMap<String, Image>, name: &str) -> Option<&'a Image> {
    let untagged = name.split('@').next().unwrap_or(name);
    // A colon before the last slash is a registry's port.
    let untagged = match untagged.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => untagged,
    };
    images.get(name).or_else(|| images.get(untagged))
}

#[test]
fn a_tag_a_digest_and_a_registry_port_do_not_hide_an_image() {
    let images = BTreeMap::from([("host:5000/albacore".to_owned(), Image::new("/bin/true"))]);
    for name in [
        "host:5000/albacore",
        "host:5000/albacore:v1",
        "host:5000/albacore:v1@sha256:00",
        "host:5000/albacore@sha256:00",
    ] {
        assert!(find(&images, name).is_some(), "{name}");
    }
    assert!(find(&images, "albacore").is_none());
    assert!(find(&images, "host:5000/albacore2").is_none());
}
