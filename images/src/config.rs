//! Image configs as far as running an image in place needs: its platform, the digests of its unpacked
//! layers, and the chainIDs that follow from them. They are only read here, never written again.

use crate::platform::Platform;
use crate::{Error, Result};
use holdall::ids::Sha256;
use holdall::units::len64;
use serde::Deserialize;

/// Longest config that is taken, in bytes.
pub const MAX_CONFIG: u64 = 4 << 20;

/// Most layers that one image may have here. Docker stops at 127, the kernel's overlay at 500.
pub const MAX_LAYERS: u64 = 1000;

/// An image's config: what it is for, and what its root file system is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageConfig {
    /// The platform that the image is for.
    pub platform: Platform,
    /// SHA-256 of each layer's uncompressed tar, lowest first; none for an image without layers.
    pub diff_ids: Vec<Sha256>,
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
    rootfs: Option<RawRootfs>,
}

#[derive(Deserialize)]
struct RawRootfs {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    diff_ids: Option<Vec<String>>,
}

impl ImageConfig {
    /// Parses a config. What is no image's config (an artifact's, one without `rootfs`, `os` or `architecture`)
    /// is malformed; layers named by another hash than SHA-256 are not supported. `place` is for messages.
    pub fn parse(bytes: &[u8], place: &str) -> Result<Self> {
        if len64(bytes.len()) > MAX_CONFIG {
            return Err(Error::too_large(
                place,
                "the config's length in bytes",
                MAX_CONFIG,
            ));
        }
        let raw: RawConfig = serde_json::from_slice(bytes).map_err(|err| Error::json(place, &err))?;
        let rootfs = raw
            .rootfs
            .ok_or_else(|| Error::malformed(place, "a config without rootfs"))?;
        if rootfs.kind != "layers" {
            return Err(Error::unsupported(
                place,
                format!("a rootfs of type {:?} (only \"layers\")", rootfs.kind),
            ));
        }
        let texts = rootfs.diff_ids.unwrap_or_default();
        if len64(texts.len()) > MAX_LAYERS {
            return Err(Error::too_large(place, "its number of layers", MAX_LAYERS));
        }
        let diff_ids = texts
            .iter()
            .map(|text| diff_id(text, place))
            .collect::<Result<_>>()?;
        let variant = raw.variant.filter(|variant| !variant.is_empty());
        let text = match &variant {
            Some(variant) => format!("{}/{}/{variant}", raw.os, raw.architecture),
            None => format!("{}/{}", raw.os, raw.architecture),
        };
        let platform = Platform::parse(&text).map_err(|_| {
            Error::malformed(
                place,
                format!("os, architecture and variant are no platform: {text:?}"),
            )
        })?;
        Ok(Self { platform, diff_ids })
    }

    /// The chainID of each layer, lowest first; the last names the whole root file system.
    #[must_use]
    pub fn chain_ids(&self) -> Vec<Sha256> {
        chain_ids(&self.diff_ids)
    }
}

fn diff_id(text: &str, place: &str) -> Result<Sha256> {
    Sha256::from_digest(text).map_err(|err| match text.split_once(':') {
        Some((algorithm, _))
            if algorithm != "sha256"
                && !algorithm.is_empty()
                && algorithm.bytes().all(|b| b.is_ascii_alphanumeric()) =>
        {
            Error::unsupported(place, format!("layers by {algorithm} (only sha256)"))
        }
        _ => Error::malformed(place, format!("diff_ids: {err}")),
    })
}

/// The chainIDs of a stack of layers, as many as there are diffIDs: the first is the first diffID, each
/// other the SHA-256 of `sha256:<chainID before> sha256:<diffID>`. It names the merged tree up to that layer.
#[must_use]
pub fn chain_ids(diff_ids: &[Sha256]) -> Vec<Sha256> {
    let mut before: Option<Sha256> = None;
    diff_ids
        .iter()
        .map(|diff_id| {
            let chain_id = match before {
                None => *diff_id,
                Some(below) => {
                    Sha256::of(format!("{} {}", below.to_digest(), diff_id.to_digest()).as_bytes())
                }
            };
            before = Some(chain_id);
            chain_id
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(diff_ids: &str) -> String {
        format!(
            r#"{{"os":"linux","architecture":"amd64","config":{{}},"rootfs":{{"type":"layers","diff_ids":{diff_ids}}}}}"#
        )
    }

    fn parse(text: &str) -> Result<ImageConfig> {
        ImageConfig::parse(text.as_bytes(), "here")
    }

    /// Reckoned apart from this code: `printf 'sha256:… sha256:…' | sha256sum`.
    #[test]
    fn chain_ids_are_those_of_the_image_specification() {
        let (a, b, c) = (Sha256::of(b"a"), Sha256::of(b"b"), Sha256::of(b"c"));
        let expected = [
            "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
            "51c0c8ace48498d6f5fee6b0592cc06f2da0f3cbe09c5a34a97dce85c3889676",
            "2fce7f8ce91bcf0a1428b36e1024639fdbd9469eea762dba98aa749631885106",
        ];
        let found: Vec<String> = chain_ids(&[a, b, c]).iter().map(Sha256::to_hex).collect();
        assert_eq!(found, expected);
        assert!(chain_ids(&[]).is_empty());
    }

    #[test]
    fn a_config_says_its_platform_and_its_layers_in_order() {
        let (a, b) = (Sha256::of(b"a"), Sha256::of(b"b"));
        let list = format!(r#"["{}","{}"]"#, a.to_digest(), b.to_digest());
        let parsed = parse(&config(&list)).unwrap();
        assert_eq!(parsed.platform.to_string(), "linux/amd64");
        assert_eq!(parsed.diff_ids, [a, b]);
        assert_eq!(parsed.chain_ids().len(), 2);
        let arm = config("[]").replace(r#""amd64""#, r#""arm","variant":"v7""#);
        assert_eq!(parse(&arm).unwrap().platform.to_string(), "linux/arm/v7");
        let plain = config("[]").replace(r#""amd64""#, r#""amd64","variant":"""#);
        assert_eq!(parse(&plain).unwrap().platform.to_string(), "linux/amd64");
        assert!(parse(&config("null")).unwrap().diff_ids.is_empty());
    }

    #[test]
    fn what_is_no_images_config_is_malformed() {
        for bad in [
            "{}".to_owned(),
            "[]".to_owned(),
            config(r#"["sha256:../../etc"]"#),
            config(r#"["00"]"#),
            config("[1]"),
            config("[]").replace("linux", ""),
            config("[]").replace("amd64", "a/b/c"),
        ] {
            assert!(matches!(parse(&bad), Err(Error::Malformed { .. })), "{bad}");
        }
    }

    #[test]
    fn other_hashes_and_root_file_systems_are_refused_by_name() {
        let message = parse(&config(r#"["sha512:00"]"#)).unwrap_err().to_string();
        assert!(message.contains("sha512"), "{message}");
        let message = parse(&config("[]").replace("layers", "other"))
            .unwrap_err()
            .to_string();
        assert!(message.contains("other"), "{message}");
    }

    #[test]
    fn layers_and_length_are_bounded() {
        let layer = format!(r#""{}""#, Sha256::of(b"a").to_digest());
        let list = format!("[{}]", vec![layer; 1001].join(","));
        assert!(matches!(parse(&config(&list)), Err(Error::TooLarge { .. })));
        let long = config("[]") + &" ".repeat(4 << 20);
        assert!(matches!(parse(&long), Err(Error::TooLarge { .. })));
    }
}
