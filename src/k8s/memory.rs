//! Memories as text: versioned, compressed, and known to be whole.
//!
//! `v1:` + checksum + `:` + base64 of deflated JSON. What cannot be read counts as absent: tags find everything again.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};

const VERSION: &str = "v1";

/// The memory as text.
pub fn encode<T: Serialize>(memory: &T) -> String {
    let json = serde_json::to_vec(memory).expect("memories are maps with keys that are text");
    let mut deflate = DeflateEncoder::new(Vec::new(), Compression::default());
    deflate.write_all(&json).expect("a vector takes everything");
    let packed = deflate.finish().expect("a vector takes everything");
    format!("{VERSION}:{}:{}", checksum(&packed), STANDARD_NO_PAD.encode(packed))
}

/// The memory in a text; `None` when it is not whole, or of a version that is not known.
pub fn decode<T: DeserializeOwned>(text: &str) -> Option<T> {
    let rest = text.strip_prefix(VERSION)?.strip_prefix(':')?;
    let (sum, packed) = rest.split_once(':')?;
    let packed = STANDARD_NO_PAD.decode(packed).ok()?;
    if checksum(&packed) != sum {
        return None;
    }
    let mut json = Vec::new();
    DeflateDecoder::new(packed.as_slice()).read_to_end(&mut json).ok()?;
    serde_json::from_slice(&json).ok()
}

fn checksum(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn what_was_encoded_is_decoded_and_what_was_damaged_is_not() {
        let memory: BTreeMap<String, String> = (0..100).map(|n| (format!("key-{n}"), "value".repeat(20))).collect();
        let text = encode(&memory);
        assert!(text.len() < 2_000, "{} bytes", text.len());
        assert_eq!(decode::<BTreeMap<String, String>>(&text), Some(memory));
        assert_eq!(decode::<BTreeMap<String, String>>(&text[..text.len() - 4]), None);
        assert_eq!(decode::<BTreeMap<String, String>>("v0:x"), None);
    }
}
