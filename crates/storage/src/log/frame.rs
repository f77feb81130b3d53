//! How a value is stored: `version u8 | crc32c u32 little-endian | content`.
//!
//! The checksum covers the key too, so that a value under the wrong key is noticed.

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 5;

pub(super) fn seal(key: &[u8], content: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEADER_BYTES + content.len());
    value.push(VERSION);
    value.extend_from_slice(&checksum(key, content).to_le_bytes());
    value.extend_from_slice(content);
    value
}

/// The content of a value, or what is wrong with it.
pub(super) fn open<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], String> {
    let Some((header, content)) = value.split_first_chunk::<HEADER_BYTES>() else {
        return Err(format!("the value of {} is cut short", name(key)));
    };
    let [version, checksum_bytes @ ..] = *header;
    if version != VERSION {
        return Err(format!("the value of {} has the unknown version {version}", name(key)));
    }
    if u32::from_le_bytes(checksum_bytes) != checksum(key, content) {
        return Err(format!("the checksum of {} does not match", name(key)));
    }
    Ok(content)
}

fn checksum(key: &[u8], content: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), content)
}

fn name(key: &[u8]) -> String {
    match <[u8; 8]>::try_from(key) {
        Ok(index) if key.first() == Some(&0) => format!("entry {}", u64::from_be_bytes(index)),
        _ => format!("`{}`", key.escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_value_never_change() {
        assert_eq!(seal(b"vote", b"abc"), b"\x01\xe9\x6d\x85\xb7abc");
    }

    #[test]
    fn damage_and_misplacement_are_noticed() {
        let key = 7_u64.to_be_bytes();
        let good = seal(&key, b"entry");
        assert_eq!(open(&key, &good), Ok(&b"entry"[..]));
        for position in 0..good.len() {
            let mut bad = good.clone();
            bad[position] ^= 0x80;
            let message = open(&key, &bad).unwrap_err();
            assert!(message.contains("entry 7"), "{message}");
        }
        open(&8_u64.to_be_bytes(), &good).unwrap_err();
        open(&key, &good[..3]).unwrap_err();
    }
}
