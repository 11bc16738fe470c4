//! Inputs that make an encoder turn at its corners.

/// Numbers that look random; the same for the same seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    /// One of these.
    pub fn of<const N: usize>(&mut self, numbers: [usize; N]) -> usize {
        numbers[self.below(N)]
    }

    /// Below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// About `size` bytes: runs, noise of few and many symbols, pieces of `text`, and copies of what came before, some of them
/// changed, near and at the farthest distances.
pub fn mixed(random: &mut Random, text: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(size + 40_000);
    while out.len() < size {
        let most = random.of([4, 20, 300, 3_000, 40_000]).min(size + 300 - out.len());
        let length = 1 + random.below(most);
        match random.below(6) {
            0 => out.resize(out.len() + length, random.next() as u8),
            1 => out.extend((0..length).map(|_| random.next() as u8)),
            2 => {
                let symbols = 1 + random.below(6) as u8;
                out.extend((0..length).map(|_| b'a' + random.next() as u8 % symbols));
            }
            3 => {
                let from = random.below(text.len());
                out.extend_from_slice(&text[from..text.len().min(from + length)]);
            }
            _ if out.is_empty() => out.push(0),
            copied => {
                let most = out.len().min(random.of([300, 33_000, 70_000]));
                let distance = match random.below(4) {
                    0 => most,
                    1 => (32_506 + random.below(3) - 1).min(out.len()),
                    _ => 1 + random.below(most),
                };
                for _ in 0..length {
                    let byte = out[out.len() - distance];
                    let changed = copied == 5 && random.below(30) == 0;
                    out.push(if changed { byte ^ 1 } else { byte });
                }
            }
        }
    }
    out.truncate(size);
    out
}
