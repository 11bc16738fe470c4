//! Positions sorted by the hash of what is there: for levels that enter all of them.
//!
//! Where every position is entered, which strings a search meets, and in which order, is known from the plaintext alone. A
//! bucket in memory is what the encoder follows from link to link, and many times as fast to look through.

/// Positions that are sorted together.
pub const HALF: usize = 32 << 10;
/// One in each quarter of a word.
const QUARTERS: u64 = 0x0001_0001_0001_0001;

/// An array of zeros that never lies on the stack.
pub fn zeros<T: Copy + Default, const N: usize>() -> Box<[T; N]> {
    vec![T::default(); N]
        .into_boxed_slice()
        .try_into()
        .unwrap_or_else(|_| Box::new([T::default(); N]))
}

/// The positions of half a window, from 0. There is one hash less than `STARTS`, and it is a power of 2.
#[derive(Debug)]
pub struct Half<const STARTS: usize> {
    /// By hash, and ascending among those of the same.
    sorted: Box<[u16; HALF]>,
    /// Where the positions of each hash start in `sorted`; they end where those of the next start.
    starts: Box<[u16; STARTS]>,
    /// Where each position is in `sorted`.
    ranks: Box<[u16; HALF]>,
}

impl<const STARTS: usize> Default for Half<STARTS> {
    fn default() -> Self {
        Self {
            sorted: zeros(),
            starts: zeros(),
            ranks: zeros(),
        }
    }
}

impl<const STARTS: usize> Half<STARTS> {
    const MASK: usize = STARTS - 2;

    /// Sorts positions of these hashes, the first of which is that of 0; at most [`HALF`] are taken.
    pub fn sort(&mut self, hashes: impl Iterator<Item = usize> + Clone) {
        let hashes = hashes.take(HALF);
        self.starts.fill(0);
        for hash in hashes.clone() {
            let next = &mut self.starts[(hash & Self::MASK) + 1];
            *next = next.wrapping_add(1);
        }
        // Four at once: a product holds the sums of the quarters up to each, and none is more than `HALF`.
        let mut all = 0u64;
        for four in self.starts[1..].as_chunks_mut::<4>().0 {
            let counts = four
                .iter()
                .rev()
                .fold(0, |word, count| word << 16 | u64::from(*count));
            let sums = counts.wrapping_mul(QUARTERS);
            let starts = all.wrapping_mul(QUARTERS).wrapping_add(sums << 16);
            all += sums >> 48;
            *four = [0, 16, 32, 48].map(|shift| (starts >> shift) as u16);
        }
        // What stands at a hash and one is where its next position goes; in the end, where the next hash starts.
        for ((position, rank), hash) in self.ranks.iter_mut().enumerate().zip(hashes) {
            let next = &mut self.starts[(hash & Self::MASK) + 1];
            *rank = *next;
            self.sorted[usize::from(*next) & (HALF - 1)] = position as u16;
            *next = next.wrapping_add(1);
        }
    }

    /// Where the positions of a hash start and end among the sorted.
    #[inline]
    pub fn span(&self, hash: usize) -> (u16, u16) {
        let hash = hash & Self::MASK;
        (self.starts[hash], self.starts[hash + 1])
    }

    /// Where each position is among the sorted.
    #[inline]
    pub fn ranks(&self) -> &[u16; HALF] {
        &self.ranks
    }

    /// The sorted positions from one place to another.
    #[inline]
    pub fn sorted(&self, (start, end): (u16, u16)) -> &[u16] {
        self.sorted.get(start.into()..end.into()).unwrap_or_default()
    }

    /// The positions of a hash.
    #[inline]
    pub fn bucket(&self, hash: usize) -> &[u16] {
        self.sorted(self.span(hash))
    }

    /// The positions of a hash before one that has it.
    #[inline]
    pub fn bucket_before(&self, hash: usize, position: usize) -> &[u16] {
        let start = self.starts[hash & Self::MASK];
        self.sorted((start, self.ranks[position & (HALF - 1)]))
    }
}

/// The last of `from`, at most `tries`.
#[inline]
pub fn last(from: &[u16], tries: usize) -> &[u16] {
    &from[from.len() - tries.min(from.len())..]
}
