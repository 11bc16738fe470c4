//! What a chunk looks like: a few features such that chunks which share much have some of them in common.
//!
//! They decide only which frame a delta is compressed against. No reader needs them, and nothing of them is on a medium.

/// Most features of one chunk.
pub const FEATURES: usize = 16;
/// Most features of a frame of pages.
const FRAME_FEATURES: usize = 64;
/// One position in this many is looked at, on average.
const SAMPLED: u32 = 64;
/// Chunks shorter than this have so few sampled positions that they get no features of their own.
const SHORTEST: usize = 512;

/// Chunks that begin in the same so many bytes of a file have one name.
const STRETCH: u64 = 128 * 1024;
/// Sets the features of pages apart.
const PAGE: Feature = 0x7061_6765;

/// A feature: the hash of some 32 bytes that stand in the chunk, or of what it is called.
pub type Feature = u32;

/// For each byte a number without any pattern, from a fixed seed.
const GEAR: [u32; 256] = gear();

const fn gear() -> [u32; 256] {
    let mut table = [0; 256];
    let mut state: u32 = 0x686f_6c64;
    let mut i = 0;
    while i < table.len() {
        // Marsaglia's xorshift with 32 bits.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        #[expect(
            clippy::indexing_slicing,
            reason = "a constant's own bounds, checked when it is compiled"
        )]
        {
            table[i] = state;
        }
        i += 1;
    }
    table
}

/// The features of a chunk, the smallest of the hashes of its sampled windows: at most [`FEATURES`], fewer of a short chunk,
/// in ascending order, none twice. Two chunks have one in common about as often as they share windows.
#[must_use]
pub fn features(bytes: &[u8]) -> Vec<Feature> {
    let most = match bytes.len() {
        0..SHORTEST => return Vec::new(),
        SHORTEST..4_096 => 3,
        4_096..32_768 => 5,
        _ => FEATURES,
    };
    let mut least: Vec<Feature> = Vec::with_capacity(most + 1);
    let mut bound = Feature::MAX;
    // After 32 shifts a byte has left the hash: its value depends on the last 32 bytes alone.
    let mut window = 0_u32;
    for byte in bytes {
        window = (window << 1).wrapping_add(*GEAR.get(usize::from(*byte)).unwrap_or(&0));
        // The uppermost bits are the ones that all 32 bytes have a part in.
        if window < u32::MAX / SAMPLED {
            let feature = mix(window);
            if feature < bound
                && let Err(at) = least.binary_search(&feature)
            {
                least.insert(at, feature);
                if least.len() > most {
                    least.pop();
                    bound = least.last().copied().unwrap_or(Feature::MAX);
                }
            }
        }
    }
    least
}

/// The features of a page of a list or directory. None is one of plaintext too, but by chance.
#[must_use]
pub fn of_page(bytes: &[u8]) -> Vec<Feature> {
    features(bytes).into_iter().map(|f| mix(f ^ PAGE)).collect()
}

/// Leaves of the features of many pages those that stand for all of them: the smallest, so that frames which share pages agree
/// on them.
pub fn least(features: &mut Vec<Feature>) {
    features.sort_unstable();
    features.dedup();
    features.truncate(FRAME_FEATURES);
}

/// A feature of what a chunk is called: a file's path without its digits, as versions are in them, and about where in the file
/// it begins, which changes less from version to version than how many chunks there are before it.
#[must_use]
pub fn called(path: impl IntoIterator<Item = impl AsRef<[u8]>>, begins: u64) -> Feature {
    // FNV-1a.
    let mut hash = 0x811c_9dc5_u32;
    let mut byte = |b: u8| hash = (hash ^ u32::from(b)).wrapping_mul(0x0100_0193);
    for name in path {
        name.as_ref()
            .iter()
            .filter(|b| !b.is_ascii_digit())
            .for_each(|b| byte(*b));
        byte(b'/');
    }
    (begins / STRETCH).to_le_bytes().into_iter().for_each(byte);
    mix(hash)
}

/// Spreads a hash over all bits, each value to another.
const fn mix(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x7feb_352d);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize, seed: u8) -> Vec<u8> {
        let mut out = vec![0; len];
        blake3::Hasher::new()
            .update(&[seed])
            .finalize_xof()
            .fill(&mut out);
        out
    }

    fn shared(a: &[u8], b: &[u8]) -> usize {
        let b = features(b);
        features(a).iter().filter(|f| b.contains(f)).count()
    }

    #[test]
    fn a_chunk_with_an_insertion_and_changes_all_over_still_shares_features() {
        let before = noise(64 * 1024, 1);
        let mut after = before.clone();
        after.splice(1_000..1_000, noise(300, 2));
        for at in (0..after.len()).step_by(997) {
            after[at] ^= 0x55;
        }
        assert_eq!(features(&before).len(), FEATURES);
        assert!(shared(&before, &after) >= 4, "{}", shared(&before, &after));
    }

    #[test]
    fn strangers_share_none() {
        let sum: usize = (0..50)
            .map(|n| shared(&noise(64 * 1024, n), &noise(64 * 1024, n + 100)))
            .sum();
        assert_eq!(sum, 0);
    }

    #[test]
    fn short_and_monotonous_chunks_have_few() {
        assert!(features(&noise(511, 1)).is_empty());
        assert!(features(&[7; 100_000]).len() <= 1);
        assert!((1..=3).contains(&features(&noise(2_000, 3)).len()));
    }

    #[test]
    fn a_name_is_the_same_in_another_version_and_differs_by_the_place() {
        let name = |a, b, n| called([a, b], n);
        assert_eq!(name("python3.11", "os.py", 0), name("python3.12", "os.py", 0));
        assert_eq!(
            name("python3.11", "os.py", 0),
            name("python3.12", "os.py", STRETCH - 1)
        );
        assert_ne!(
            name("python3.11", "os.py", 0),
            name("python3.11", "os.py", STRETCH)
        );
        assert_ne!(name("ab", "c", 0), name("a", "bc", 0));
    }
}
