//! What one layer may take up.

/// The most that is taken of one layer. Past any of these it is no tree to us, and is kept as bytes.
///
/// The defaults are far above what images hold and far below what hurts: a bomb ends after ten to
/// twenty seconds of decompression, and memory stays within a few MiB and the zstd window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Entries, global headers among them: 2,000,000.
    pub entries: u64,
    /// Bytes of all paths, link targets and extended attributes together: 512 MiB.
    pub name_bytes: u64,
    /// Bytes of one file, holes included: 16 GiB.
    pub file_bytes: u64,
    /// Uncompressed bytes that any layer may have, however well it compresses: 17 GiB, so that one file
    /// of the greatest length passes.
    pub plain_bytes: u64,
    /// Uncompressed bytes, past [`Self::plain_bytes`], for each compressed byte read so far: 200. Programs
    /// and text have 2 to 10, gzip has at most 1032.
    pub plain_ratio: u64,
    /// Bytes of one PAX header: 1 MiB.
    pub pax_bytes: u64,
    /// Bytes of one GNU long name: 64 KiB.
    pub long_name_bytes: u64,
    /// Extents of one sparse file: 262,144, which are 4 MiB of memory.
    pub sparse_extents: usize,
    /// Binary logarithm of the largest zstd window: 27, which is 128 MiB.
    pub zstd_window_log: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 2_000_000,
            name_bytes: 512 << 20,
            file_bytes: 16 << 30,
            plain_bytes: 17 << 30,
            plain_ratio: 200,
            pax_bytes: 1 << 20,
            long_name_bytes: 64 << 10,
            sparse_extents: 1 << 18,
            zstd_window_log: 27,
        }
    }
}
