//! The generated files: `HOLDALL.txt`, `oci/oci-layout` and `oci/index.json`.
//!
//! Owns their bytes, which depend on nothing but the generation, so that each mount shows the same.
//! Knows neither inodes nor how images are found: they come as an iterator.

use holdall::format::root::Root;
use holdall::ids::Sha256;
use holdall::name::{ImageName, Reference, Repository};
use holdall::reader::Image;
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};

/// The content of `oci/oci-layout`.
pub(super) const OCI_LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

const REF_NAME: &str = "org.opencontainers.image.ref.name";
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// One image of the layout: its name, and the manifest or index it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: ImageName,
    pub(super) media_type: String,
    pub(super) digest: Sha256,
    /// Bytes of the manifest or index.
    pub(super) size: u64,
}

impl From<Image> for Listed {
    fn from(image: Image) -> Self {
        let Image { name, target } = image;
        Self {
            name,
            media_type: target.media_type,
            digest: target.sha256,
            size: target.size,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor<'a> {
    media_type: &'a str,
    digest: String,
    size: u64,
    // Ordered, so that the same generation always gives the same bytes.
    annotations: BTreeMap<&'static str, &'a str>,
}

/// The content of `oci/index.json`: a descriptor for each tag, and for each digest that no tag of its
/// repository points to. `images` come in order of repository, tags before digests.
pub(super) fn index_json(images: impl Iterator<Item = holdall::Result<Listed>>) -> holdall::Result<Vec<u8>> {
    let mut json =
        br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":["#.to_vec();
    let mut repository: Option<Repository> = None;
    // What the tags of this one repository point to: all that is kept while the images stream by.
    let mut tagged: HashSet<Sha256> = HashSet::new();
    let mut first = true;
    for image in images {
        let image = image?;
        if repository.as_ref() != Some(&image.name.repository) {
            repository = Some(image.name.repository.clone());
            tagged.clear();
        }
        let name = image.name.to_string();
        let mut annotations = BTreeMap::from([(CONTAINERD_NAME, name.as_str())]);
        match image.name.reference {
            Reference::Tag(_) => {
                tagged.insert(image.digest);
                annotations.insert(REF_NAME, &name);
            }
            Reference::Digest(digest) if tagged.contains(&digest) => continue,
            Reference::Digest(_) => {}
        }
        let descriptor = Descriptor {
            media_type: &image.media_type,
            digest: image.digest.to_digest(),
            size: image.size,
            annotations,
        };
        json.extend_from_slice(if first { b"\n" } else { b",\n" });
        first = false;
        serde_json::to_writer(&mut json, &descriptor)
            .map_err(|err| holdall::Error::malformed(format!("image {name}"), err.to_string()))?;
    }
    json.extend_from_slice(b"\n]}\n");
    Ok(json)
}

/// The content of `HOLDALL.txt`.
pub(super) fn read_me(root: &Root) -> String {
    // Texts of a medium are shown on terminals: no control characters.
    let plain = |text: &str| {
        text.chars()
            .map(|c| if c.is_control() { '\u{fffd}' } else { c })
            .collect::<String>()
    };
    let time = jiff::Timestamp::from_second(root.time).map_or_else(
        |_| format!("{} seconds after 1970", root.time),
        |time| time.to_string(),
    );
    format!(
        "This is a Holdall transfer disk, mounted read-only. Every byte read here has been
checked against the hashes of generation {generation} on its way; damage shows as an
input/output error on the file concerned, never as other content.

medium      {medium}
generation  {generation}
origin      {origin}
series      {series}
written     {time}

What is here

  oci/            an OCI image layout of all container images on the disk
  blobs/sha256/   each blob of theirs, named by its SHA-256
  images/         what a container of each image sees, by name and platform
  chains/sha256/  the same, by chainID
  erofs/          the same as file systems: mount -t erofs erofs/chains/sha256/<name> DIR
  layers/         each layer as such a file system, by diffID: containerd's
                  layer_content_caches
  files/          loose files and folders

How to use it (from this folder)

  List the images:
    jq -r '.manifests[].annotations[\"{CONTAINERD_NAME}\"]' oci/index.json
  Copy an image to a registry, or to a folder:
    skopeo copy --all oci:oci:docker.io/acme/api:1.2 docker://registry.example/acme/api:1.2
    skopeo copy --all oci:oci:docker.io/acme/api:1.2 dir:/tmp/api
  Check a blob with a stock tool (it prints the name of the file):
    sha256sum blobs/sha256/<name>
  Check the whole disk, giving the medium itself and not this mount:
    holdall verify --full <medium>
",
        generation = root.generation,
        medium = root.medium,
        origin = plain(&root.origin),
        series = plain(&root.series),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const INDEX: &str = "application/vnd.oci.image.index.v1+json";

    fn image(name: &str, content: &str) -> Listed {
        let digest = Sha256::of(content.as_bytes());
        let name = ImageName::parse(&name.replace("DIGEST", &digest.to_digest())).unwrap();
        Listed {
            name,
            media_type: INDEX.into(),
            digest,
            size: 7,
        }
    }

    fn names(json: &[u8], annotation: &str) -> Vec<Option<String>> {
        let json: Value = serde_json::from_slice(json).unwrap();
        let manifests = json.pointer("/manifests").and_then(Value::as_array).unwrap();
        let name = |m: &Value| {
            m.get("annotations")
                .and_then(|a| a.get(annotation))
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        manifests.iter().map(name).collect()
    }

    #[test]
    fn an_index_of_nothing_is_a_valid_index() {
        let json: Value = serde_json::from_slice(&index_json(std::iter::empty()).unwrap()).unwrap();
        assert_eq!(json.get("schemaVersion"), Some(&Value::from(2)));
        assert_eq!(json.get("mediaType"), Some(&Value::from(INDEX)));
        assert_eq!(json.pointer("/manifests"), Some(&Value::Array(Vec::new())));
        let layout: Value = serde_json::from_slice(OCI_LAYOUT).unwrap();
        assert_eq!(layout.get("imageLayoutVersion"), Some(&Value::from("1.0.0")));
    }

    #[test]
    fn a_tag_is_listed_by_its_full_name() {
        let listed = image("docker.io/acme/api:1.2", "x");
        let json: Value =
            serde_json::from_slice(&index_json([Ok(listed.clone())].into_iter()).unwrap()).unwrap();
        let descriptor = json.pointer("/manifests/0").unwrap();
        assert_eq!(
            descriptor.get("digest"),
            Some(&Value::from(listed.digest.to_digest()))
        );
        assert_eq!(descriptor.get("size"), Some(&Value::from(7)));
        assert_eq!(descriptor.get("mediaType"), Some(&Value::from(INDEX)));
        let annotations = descriptor.get("annotations").unwrap();
        for annotation in [REF_NAME, CONTAINERD_NAME] {
            assert_eq!(
                annotations.get(annotation),
                Some(&Value::from("docker.io/acme/api:1.2"))
            );
        }
    }

    #[test]
    fn a_digest_is_listed_only_where_no_tag_of_its_repository_points() {
        let images = [
            image("docker.io/acme/api:1", "one"),
            image("docker.io/acme/api:2", "one"),
            image("docker.io/acme/api@DIGEST", "one"),
            image("docker.io/acme/api@DIGEST", "two"),
            // Another repository: its tags are not those of the one before.
            image("docker.io/acme/web@DIGEST", "one"),
        ];
        let [_, _, _, two, web] = images.each_ref().map(|image| image.name.to_string());
        let json = index_json(images.into_iter().map(Ok)).unwrap();
        let tags = ["docker.io/acme/api:1", "docker.io/acme/api:2"].map(|tag| Some(tag.to_owned()));
        let [one, other] = tags.clone();
        assert_eq!(
            names(&json, CONTAINERD_NAME),
            [one.clone(), other.clone(), Some(two), Some(web)]
        );
        assert_eq!(names(&json, REF_NAME), [one, other, None, None]);
    }

    #[test]
    fn an_image_that_cannot_be_read_fails_the_index() {
        let images = [
            Ok(image("docker.io/acme/api:1", "one")),
            Err(holdall::Error::missing("catalogue page 3")),
        ];
        assert!(matches!(
            index_json(images.into_iter()),
            Err(holdall::Error::Missing { .. })
        ));
    }
}
