//! Whole gzip files taken apart into a recipe and its files, and put together again from them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod harness;

use harness::{go_members, run, sample};
use holdall_recipe::gzip::GzipReader;
use holdall_recipe::outboard::OutboardWriter;
use holdall_recipe::skeleton::SkeletonWriter;
use holdall_recipe::table::{Damage, Source, Table, TableWriter};
use std::process::Command;

/// A recipe, the files that it refers to, and what it makes again.
struct Taken {
    recipe: Vec<u8>,
    files: Vec<Vec<u8>>,
    size: u64,
    hash: [u8; 32],
}

impl Source for Taken {
    type Error = Damage;

    fn recipe(&self, offset: u64, buf: &mut [u8]) -> Result<(), Damage> {
        let from = self
            .recipe
            .get(offset as usize..)
            .ok_or_else(|| Damage("past the end".into()))?;
        let from = from
            .get(..buf.len())
            .ok_or_else(|| Damage("past the end".into()))?;
        buf.copy_from_slice(from);
        Ok(())
    }

    fn file(&self, inode: u64, offset: u64, buf: &mut [u8]) -> Result<(), Damage> {
        // inode numbers go down from 1,000,000, to be unlike positions
        let file = 1_000_000u64
            .checked_sub(inode)
            .and_then(|at| self.files.get(at as usize));
        let file = file.ok_or_else(|| Damage(format!("no inode {inode}")))?;
        let from = file.get(offset as usize..).and_then(|from| from.get(..buf.len()));
        buf.copy_from_slice(from.ok_or_else(|| Damage("past a file's end".into()))?);
        Ok(())
    }
}

/// Takes a gzip file of a tar apart; what cannot be read as a tar's entry is all skeleton.
fn take(gzip: &[u8]) -> Taken {
    let mut reader = GzipReader::open(gzip).unwrap();
    let mut plain = Vec::new();
    let mut buf = vec![0; 70_000];
    let mut table = TableWriter::default();
    let mut recipe = Vec::new();
    loop {
        let count = reader.plain(&mut buf).unwrap();
        for part in reader.take_parts() {
            recipe.extend(table.part(part));
        }
        if count == 0 {
            break;
        }
        plain.extend_from_slice(&buf[..count]);
    }
    for part in reader.finish() {
        recipe.extend(table.part(part));
    }
    let mut skeleton = SkeletonWriter::default();
    let mut files = Vec::new();
    let mut at = 0;
    while at < plain.len() {
        let header = &plain[at..plain.len().min(at + 512)];
        skeleton.literal(header);
        at += header.len();
        let text = header
            .get(124..135)
            .and_then(|field| std::str::from_utf8(field).ok());
        let size = text
            .and_then(|text| usize::from_str_radix(text, 8).ok())
            .unwrap_or(0);
        if header.get(156) == Some(&b'0') && size > 0 && at + size <= plain.len() {
            skeleton.file(size as u64);
            skeleton.payload(size as u64);
            files.push(plain[at..at + size].to_vec());
            at += size;
            let padding = (size.wrapping_neg() % 512).min(plain.len() - at);
            skeleton.literal(&plain[at..at + padding]);
            at += padding;
        }
        for stretch in skeleton.take() {
            recipe.extend(table.stretch(stretch));
        }
    }
    for stretch in skeleton.finish() {
        recipe.extend(table.stretch(stretch));
    }
    let mut outboard = OutboardWriter::default();
    outboard.update(gzip);
    let (hash, outboard) = outboard.finish();
    let inodes: Vec<u64> = (0..files.len() as u64).map(|at| 1_000_000 - at).collect();
    recipe.extend(table.finish(&inodes, &outboard));
    Taken {
        recipe,
        files,
        size: gzip.len() as u64,
        hash,
    }
}

fn check(gzip: &[u8]) -> (Taken, Table) {
    let taken = take(gzip);
    let table = Table::read(&taken, taken.recipe.len() as u64, taken.size, &taken.hash).unwrap();
    assert!(table.read_groups(&taken, 0..table.groups()).unwrap() == gzip);
    for group in 0..table.groups() {
        let bytes = table.read_groups(&taken, group..group + 1).unwrap();
        let start = (group << 18) as usize;
        assert!(
            bytes == gzip[start..gzip.len().min(start + (1 << 18))],
            "group {group}"
        );
    }
    (taken, table)
}

#[test]
fn a_file_of_one_member_or_several_is_made_again_with_its_zeros() {
    let plain = sample(5 << 20);
    let gzip = run(Command::new("gzip").arg("-6"), &plain);
    let (taken, _) = check(&gzip);
    assert!(!taken.files.is_empty());
    let mut several = gzip.clone();
    for part in plain.chunks(700_000) {
        several.extend(run(Command::new("gzip").arg("-1"), part));
    }
    several.extend(run(Command::new("gzip").arg("-9"), b""));
    several.extend([0; 1000]);
    check(&several);
    check(&run(Command::new("gzip").arg("-9"), b""));
    check(&run(Command::new("gzip").arg("-9"), b"x"));
}

#[test]
fn a_file_of_thousands_of_members_is_made_again() {
    // As in an eStargz layer: a member for each small file, and one for its header.
    let gzip = go_members(9, 700, &sample(1 << 20));
    let (_, table) = check(&gzip);
    assert!(table.parts.len() > 4_000);
    let kept: usize = table
        .parts
        .iter()
        .filter(|part| part.encoder == 0)
        .map(|part| part.length as usize)
        .sum();
    // A header of 10 bytes and a trailer of 8 a member.
    assert!(
        kept < table.parts.len() * 11,
        "{kept} bytes in {} parts",
        table.parts.len()
    );
}

#[test]
fn a_member_more_costs_the_recipe_what_two_parts_do() {
    let plain = sample(4 << 20);
    let taken = |member| take(&go_members(9, member, &plain));
    let few = taken(plain.len()).recipe;
    let mut bounds = Vec::new();
    for member in [512, 4 << 10, 32 << 10] {
        let many = taken(member).recipe;
        let members = plain.len().div_ceil(member);
        let packed = |bytes: &[u8]| run(Command::new("zstd").args(["-3", "-c"]), bytes).len();
        let each = (many.len() - few.len()) / members;
        let stored = packed(&many).saturating_sub(packed(&few)) / members;
        bounds.push((member, each, stored));
    }
    // Two entries of the table, a header and a trailer, and corrections; as zstd has it in a pack, a quarter of that.
    assert!(
        bounds.iter().all(|(_, each, stored)| *each < 90 && *stored < 30),
        "{bounds:?}"
    );
}

#[test]
fn a_model_that_panics_is_an_error_and_the_next_part_comes() {
    let gzip = run(Command::new("gzip").arg("-6"), &sample(4 << 20));
    let (taken, mut table) = check(&gzip);
    let made = |at: &usize| table.parts[at - 1].encoder > 0 && table.parts[*at].encoder > 0;
    let at = (1..table.parts.len()).rev().find(made).unwrap();
    let right = table.part(&taken, at).unwrap();
    // A segment beyond the end of the tar: a table that was read cannot say so.
    let plain = std::mem::replace(&mut table.plain, 1000);
    let error = table.part(&taken, at).unwrap_err();
    assert!(error.0.contains("the model of gzip:6 fails"), "{error}");
    table.plain = plain;
    assert!(table.part(&taken, at).unwrap() == right);
}

#[test]
fn what_is_no_gzip_is_refused() {
    let gzip = run(Command::new("gzip").arg("-6"), &sample(1 << 20));
    let refused = |bytes: &[u8]| {
        let mut buf = vec![0; 1 << 20];
        let Ok(mut reader) = GzipReader::open(bytes) else {
            return true;
        };
        loop {
            match reader.plain(&mut buf) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(_) => return true,
            }
        }
    };
    assert!(!refused(&gzip));
    for cut in [0, 1, 9, 12, gzip.len() / 2, gzip.len() - 1] {
        assert!(refused(&gzip[..cut]), "cut to {cut}");
    }
    let mut garbage = gzip.clone();
    garbage.push(7);
    assert!(refused(&garbage));
    let mut checksum = gzip.clone();
    let at = gzip.len() - 6;
    checksum[at] ^= 1;
    assert!(refused(&checksum));
}

#[test]
fn a_recipe_that_was_changed_is_an_error_and_never_other_bytes() {
    let gzip = run(Command::new("gzip").arg("-6"), &sample(250_000)[..300_000]);
    let taken = take(&gzip);
    let mut state = 3u64;
    for _ in 0..3_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // the tables' end is where most of it is decided
        let recipe = &taken.recipe;
        let span = if state & 1 == 0 {
            recipe.len()
        } else {
            recipe.len().min(400)
        };
        let at = recipe.len() - 1 - (state >> 33) as usize % span;
        let mut changed = Taken {
            recipe: recipe.clone(),
            files: taken.files.clone(),
            ..taken
        };
        changed.recipe[at] ^= 1 << ((state >> 20) & 7);
        let length = changed.recipe.len() as u64;
        if let Ok(table) = Table::read(&changed, length, changed.size, &changed.hash)
            && let Ok(bytes) = table.read_groups(&changed, 0..table.groups())
        {
            assert!(bytes == gzip, "a changed byte at {at} of {length}");
        }
    }
}
