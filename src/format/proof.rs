//! Proofs (FORMAT.md 15): one leaf, its way up the tree, ROOT and its signatures, as text.

use super::catalogue::Leaf;
use super::codec::Decoder;
use super::lines::{self, Lines};
use super::root::Root;
use super::{FORMAT, PROOF_MAX, SIGNATURE_MAX, SIGNATURES_MAX};
use crate::error::{Error, Result};
use crate::ids::Sha256;
use crate::merkle;
use crate::name::SignerName;
use crate::units::len64;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Lines of a ROOT.
const ROOT_LINES: usize = 19;
const SIGNATURE_ENDS: &str = "-----END SSH SIGNATURE-----";

/// A leaf's proof, which holds: it is made only of what leads to ROOT's tree hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    index: u64,
    canonical: Vec<u8>,
    leaf: Leaf,
    path: Vec<Sha256>,
    root: Root,
    signatures: Vec<(SignerName, String)>,
}

impl Proof {
    /// The proof of a leaf at this position, by its canonical part and the audit path from its sibling upwards. An error, a mismatch of `place`,
    /// where it does not lead to the root.
    pub fn new(
        index: u64,
        canonical: Vec<u8>,
        path: Vec<Sha256>,
        root: Root,
        signatures: Vec<(SignerName, String)>,
        place: &str,
    ) -> Result<Self> {
        let mut from = Decoder::new(&canonical, place);
        let (leaf, _) = Leaf::decode_canonical(&mut from)?;
        from.end()?;
        if index >= root.catalogue_leaves {
            return Err(Error::malformed(
                place,
                format!("index {index} of a catalogue of {} leaves", root.catalogue_leaves),
            ));
        }
        let wanted = merkle::path_len(index, root.catalogue_leaves);
        if len64(path.len()) != wanted {
            return Err(Error::malformed(
                place,
                format!("a path of {} hashes, where {wanted} are needed", path.len()),
            ));
        }
        let leaf_hash = merkle::leaf_hash(&canonical);
        if merkle::root_by_path(leaf_hash, index, root.catalogue_leaves, &path) != Some(root.catalogue_root) {
            return Err(Error::mismatch(place, "the leaf with its path"));
        }
        Ok(Self {
            index,
            canonical,
            leaf,
            path,
            root,
            signatures,
        })
    }

    /// The leaf that is proven: its places are zero, and of inline content there is none.
    #[must_use]
    pub const fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    /// The ROOT that it is under.
    #[must_use]
    pub const fn root(&self) -> &Root {
        &self.root
    }

    /// Signatures of that ROOT, by signer; not checked.
    #[must_use]
    pub fn signatures(&self) -> &[(SignerName, String)] {
        &self.signatures
    }

    /// The text.
    #[must_use]
    pub fn encode(&self) -> String {
        use std::fmt::Write as _;
        let mut out = format!(
            "holdall-proof {FORMAT}\nindex {}\nleaf {}\npath {}\n",
            self.index,
            STANDARD.encode(&self.canonical),
            self.path.len()
        );
        for hash in &self.path {
            let _never_fails = writeln!(out, "{}", STANDARD.encode(hash.as_bytes()));
        }
        let _never_fails = write!(out, "root {ROOT_LINES}\n{}", self.root.encode());
        for (signer, armored) in &self.signatures {
            let _never_fails = write!(out, "signature {signer}\n{armored}");
        }
        out
    }

    /// Reads a proof and checks that it holds. Its signatures are not checked.
    pub fn decode(bytes: &[u8], place: &str) -> Result<Self> {
        if len64(bytes.len()) > u64::from(PROOF_MAX) {
            return Err(Error::malformed(place, "longer than a proof can be"));
        }
        let text = lines::text(bytes, place)?;
        let mut lines = Lines::new(text, place);
        lines.format("holdall-proof")?;
        let index = lines.number("index")?;
        let canonical = base64(lines.value("leaf")?, place)?;
        let count: u64 = lines.number("path")?;
        // No tree of 2^64 leaves is deeper.
        if count > 64 {
            return Err(lines.malformed(format!("a path of {count} hashes")));
        }
        let mut path = Vec::new();
        for _ in 0..count {
            let line = lines
                .next_line()
                .ok_or_else(|| Error::malformed(place, "the path is cut short"))?;
            let hash: [u8; 32] = base64(line, place)?
                .try_into()
                .map_err(|_| Error::malformed(place, "a hash of the path is not 32 bytes"))?;
            path.push(Sha256::from_bytes(hash));
        }
        if lines.value("root")? != "19" {
            return Err(lines.malformed("a ROOT has 19 lines"));
        }
        let rest = lines.rest();
        let end = rest
            .match_indices('\n')
            .nth(ROOT_LINES - 1)
            .map_or(rest.len(), |(at, _)| at + 1);
        let (root, rest) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let root = Root::decode(root.as_bytes(), &format!("{place}: its ROOT"))?;
        let signatures = signatures(rest, place)?;
        let proof = Self::new(index, canonical, path, root, signatures, place)?;
        if proof.encode().as_bytes() != bytes {
            return Err(Error::malformed(place, "not in canonical form"));
        }
        Ok(proof)
    }
}

fn base64(text: &str, place: &str) -> Result<Vec<u8>> {
    STANDARD
        .decode(text)
        .map_err(|e| Error::malformed(place, format!("not base64 in its one form: {e}")))
}

fn signatures(text: &str, place: &str) -> Result<Vec<(SignerName, String)>> {
    let mut rest = text;
    let mut found: Vec<(SignerName, String)> = Vec::new();
    while !rest.is_empty() {
        let (line, behind) = rest
            .split_once('\n')
            .ok_or_else(|| Error::malformed(place, "the last line is not ended"))?;
        let signer = line
            .strip_prefix("signature ")
            .ok_or_else(|| Error::malformed(place, "the line 'signature' is not where it should be"))?;
        let signer = SignerName::parse(signer).map_err(|e| Error::malformed(place, e.to_string()))?;
        if found.last().is_some_and(|(last, _)| *last >= signer) {
            return Err(Error::malformed(place, "signers are out of order"));
        }
        let end = behind
            .split_inclusive('\n')
            .scan(0, |at, line| {
                *at += line.len();
                Some((*at, line))
            })
            .find(|(_, line)| line.strip_suffix('\n') == Some(SIGNATURE_ENDS))
            .map(|(at, _)| at)
            .ok_or_else(|| Error::malformed(place, "a signature is cut short"))?;
        let (armored, behind) = behind.split_at_checked(end).unwrap_or((behind, ""));
        if len64(armored.len()) > u64::from(SIGNATURE_MAX) {
            return Err(Error::malformed(place, "a signature is longer than 16384 bytes"));
        }
        if found.len() >= SIGNATURES_MAX {
            return Err(Error::malformed(place, "more than 64 signatures"));
        }
        found.push((signer, armored.to_owned()));
        rest = behind;
    }
    Ok(found)
}
