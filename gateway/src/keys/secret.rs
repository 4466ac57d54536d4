//! The text of a key: made here, and known to nobody but its holder.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest as _, Sha256};

use super::KeyError;
use super::by_hash::Digest;

/// What keys made by the gateway begin with, so that scanners for leaked secrets find them.
const PREFIX: &str = "gw-";

/// A new key: `gw-` and 256 bits of the system's random source in URL-safe Base64.
///
/// # Errors
/// The system gives no random numbers.
pub fn new_secret() -> Result<String, KeyError> {
    let mut random = [0; 32];
    SystemRandom::new().fill(&mut random).map_err(|_| KeyError::Random)?;
    Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random)))
}

/// What stands for a secret in a file: `sha256:` and the hash in hexadecimal.
pub fn hash_line(secret: &str) -> String {
    format!("sha256:{}", hex::encode(digest(secret.as_bytes())))
}

/// The hash by which a secret is found.
pub(super) fn digest(secret: &[u8]) -> Digest {
    Sha256::digest(secret).into()
}
