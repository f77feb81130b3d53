//! Random bytes from the operating system: ids and keys.

/// # Errors
/// The operating system has no random bytes to give.
pub(crate) fn random<const BYTES: usize>() -> Result<[u8; BYTES], getrandom::Error> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
