//! How much work a run puts into taking less room.

use holdall::pack::Level;

/// The store's [`Level`] as an argument.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
pub enum Effort {
    /// zstd 1, and layers whole beside their files: quick to write and to pull from, and large
    Fast,
    /// zstd 3, and what is like something that is there is kept as its difference
    #[default]
    Default,
    /// zstd 19 instead: several times as long, for what is written once and carried often
    Max,
}

impl From<Effort> for Level {
    fn from(effort: Effort) -> Self {
        match effort {
            Effort::Fast => Self::Fast,
            Effort::Default => Self::Default,
            Effort::Max => Self::Max,
        }
    }
}
