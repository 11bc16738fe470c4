//! What an entry's header and its extension say of its file but for its name and its bytes.

use super::error::Reason;
use super::extension::Pax;
use super::header::Fields;
use holdall::reader::Metadata;
use holdall::units::len64;

/// Most bytes of one entry's extended attributes, names and values.
const MAX_XATTRS: usize = 8192;
/// Longest name of an extended attribute.
const MAX_XATTR_NAME: usize = 255;
/// Device numbers as Linux has them: 12 and 20 bits.
const MAX_MAJOR: i64 = 0xfff;
const MAX_MINOR: i64 = 0xf_ffff;

/// The metadata, with the attributes taken out of `pax`; and what was dropped of these and why.
pub(super) fn read(fields: &Fields<'_>, pax: &mut Pax) -> Result<(Metadata, Vec<&'static str>), Reason> {
    let (mtime_sec, mtime_nsec) = pax.mtime.unwrap_or((fields.mtime, 0));
    let uid = owner(pax.uid.unwrap_or(fields.uid))?;
    let gid = owner(pax.gid.unwrap_or(fields.gid))?;
    let mut xattrs = std::mem::take(&mut pax.xattrs);
    check_names(&xattrs)?;
    let mut dropped = Vec::new();
    let mut left = xattrs.len();
    for (fits, what) in [
        (
            not_of_overlay as fn(&[u8]) -> bool,
            "extended attributes that overlayfs would obey",
        ),
        (
            of_linux,
            "extended attributes of other systems, which Linux does not set",
        ),
    ] {
        xattrs.retain(|(name, _)| fits(name));
        if xattrs.len() < left {
            dropped.push(what);
            left = xattrs.len();
        }
    }
    // Of several of one name the last is what unpacking would leave.
    xattrs.reverse();
    xattrs.sort_by(|(a, _), (b, _)| a.cmp(b));
    xattrs.dedup_by(|(later, _), (first, _)| later == first);
    let bytes = xattrs.iter().map(|(name, value)| name.len() + value.len());
    if bytes.sum::<usize>() > MAX_XATTRS {
        let what = "the length of an entry's extended attributes";
        return Err(Reason::too_large(what, len64(MAX_XATTRS)));
    }
    let metadata = Metadata {
        mode: u16::try_from(fields.mode & 0o7777).unwrap_or_default(),
        uid,
        gid,
        mtime_sec,
        mtime_nsec,
        xattrs,
    };
    Ok((metadata, dropped))
}

/// Major and minor number of a device.
pub(super) fn device(fields: &Fields<'_>) -> Result<(u32, u32), Reason> {
    let number = |number: i64, most| {
        u32::try_from(number)
            .ok()
            .filter(|_| number <= most)
            .ok_or(Reason::Malformed("a device number that Linux has not"))
    };
    Ok((number(fields.major, MAX_MAJOR)?, number(fields.minor, MAX_MINOR)?))
}

fn check_names(xattrs: &[(Vec<u8>, Vec<u8>)]) -> Result<(), Reason> {
    for (name, _) in xattrs {
        if name.is_empty() || name.contains(&0) {
            return Err(Reason::Malformed("an extended attribute whose name can be none"));
        }
        if name.len() > MAX_XATTR_NAME {
            let what = "the length of an extended attribute's name";
            return Err(Reason::too_large(what, len64(MAX_XATTR_NAME)));
        }
    }
    Ok(())
}

/// A number that Linux takes as an owner; all ones would mean none.
fn owner(id: i64) -> Result<u32, Reason> {
    u32::try_from(id)
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or(Reason::Malformed("an owner or group that can be none"))
}

/// False of `trusted.overlay.…`, `user.overlay.…` and the like in any namespace.
fn not_of_overlay(name: &[u8]) -> bool {
    let dot = name.iter().position(|byte| *byte == b'.');
    let rest = dot.and_then(|dot| name.get(dot + 1..));
    !rest.is_some_and(|rest| rest.starts_with(b"overlay."))
}

/// True of the namespaces that Linux has. Unpacking drops others too, those of macOS above all.
fn of_linux(name: &[u8]) -> bool {
    let spaces: [&[u8]; 4] = [b"user.", b"security.", b"trusted.", b"system."];
    spaces.iter().any(|space| name.starts_with(space))
}
