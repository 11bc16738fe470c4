//! Plaintext out of one zstd frame, by a context of each thread's own.
//!
//! A context has some 160 KiB of tables; made for each frame, they cost more than they hold.

use std::cell::RefCell;
use zstd::zstd_safe::{DCtx, get_error_name};

/// What a zstd dictionary begins with (RFC 8878, 5): bytes before a frame that begin so would be taken for one.
const DICTIONARY: [u8; 4] = 0xec30_a437_u32.to_le_bytes();

thread_local! {
    static CONTEXT: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

/// The plaintext of `stored`, with `base` before it, at most `len` bytes of it; more is an error. One pass, without a window
/// besides what it returns.
pub(super) fn decompress(stored: &[u8], base: &[u8], len: usize) -> Result<Vec<u8>, &'static str> {
    let mut out = Vec::with_capacity(len);
    let create = || DCtx::try_create().ok_or("out of memory");
    if base.starts_with(&DICTIONARY) {
        let mut context = create()?;
        context.ref_prefix(base).map_err(get_error_name)?;
        context.decompress(&mut out, stored).map_err(get_error_name)?;
        return Ok(out);
    }
    CONTEXT.with_borrow_mut(|kept| {
        // One that met an error is not used again.
        let mut context = kept.take().map_or_else(create, Ok)?;
        context
            .decompress_using_dict(&mut out, stored, base)
            .map_err(get_error_name)?;
        *kept = Some(context);
        Ok(out)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::delta::compress;

    #[test]
    fn a_context_that_met_an_error_spoils_nothing_and_a_base_is_never_a_dictionary() {
        let plain = b"what is stored once is read many times ".repeat(64);
        let alone = zstd::bulk::compress(&plain, 3).unwrap();
        let mut like_dictionary = DICTIONARY.to_vec();
        like_dictionary.extend_from_slice(&plain);
        for base in [plain.clone(), like_dictionary] {
            let delta = compress(&plain, &base, 3).unwrap();
            assert_eq!(decompress(&delta, &base, plain.len()).unwrap(), plain);
            assert!(decompress(&alone, &[], plain.len() - 1).is_err());
            assert!(decompress(b"no frame of zstd", &[], plain.len()).is_err());
            assert_eq!(decompress(&alone, &[], plain.len()).unwrap(), plain);
            // The base of the frame before is not taken for this one's.
            assert_eq!(decompress(&delta, &base, plain.len()).unwrap(), plain);
        }
    }
}
