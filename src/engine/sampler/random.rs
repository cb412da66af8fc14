//! Random numbers that need no state.
//! Promises: a number depends on its seed and its index only, on every machine.
//! Never knows: what it decides.

/// The increment of SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number
/// Generators", 2014): 2^64 divided by the golden ratio.
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// The `index`-th number of the sequence that `seed` names, uniform in `[0, 1)`.
///
/// SplitMix64, whose n-th output is a function of its start and n. The start is the seed mixed
/// once, so that neighbouring seeds have unrelated sequences.
pub fn uniform(seed: u64, index: u64) -> f64 {
    let start = mix(seed.wrapping_add(GAMMA));
    let bits = mix(start.wrapping_add(index.wrapping_add(1).wrapping_mul(GAMMA)));
    // The upper 53 bits: as many as an f64 holds exactly.
    (bits >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
