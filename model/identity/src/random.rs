//! Chance: from the operating system, by the one crypto library.

/// So many random bytes.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's randomness never runs dry once it has begun");
    bytes
}

/// A word of so many characters of a to z and 2 to 7, five bits each.
pub fn word(length: usize) -> String {
    (0..length).map(|_| char::from(ALPHABET[usize::from(bytes::<1>()[0] & 31)])).collect()
}

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
