//! Stock cosign of two generations, as Debian packages it, and keys of the tests' own.
//!
//! Tried: 2.5 (trixie) writes payloads of simple signing, behind the tag `sha256-HEX.sig` or, as an experiment, as an OCI 1.1
//! referrer; `sign` has no `--new-bundle-format` before 2.6. 3.1 (sid) writes a bundle as a referrer unless told not to, and asks
//! for a TUF root on the internet whenever it signs with a signing config, without which it goes on. Neither asks for anything
//! when it verifies by key with `--insecure-ignore-tlog`.
//!
//! 3.1 does not verify what it signs itself with a key on P-384 (it signs with SHA-384 and verifies with SHA-256) or of Ed25519
//! (it signs the prehashed form and verifies the plain one). We take both hashes for P-384, and of Ed25519 the plain form.

use super::containerd::stages;
use super::{Said, Stage, sh};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A release of cosign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cosign {
    V2,
    V3,
}

/// Where and how a signature is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Simple signing, behind cosign's tag.
    Tag,
    /// Simple signing, as a referrer.
    Referrer,
    /// A sigstore bundle, as a referrer.
    Bundle,
}

impl Form {
    pub fn name(self) -> &'static str {
        match self {
            Self::Tag => "tag",
            Self::Referrer => "referrer",
            Self::Bundle => "bundle",
        }
    }
}

impl Cosign {
    pub const ALL: [Self; 2] = [Self::V2, Self::V3];

    fn suite(self) -> &'static str {
        match self {
            Self::V2 => "trixie",
            Self::V3 => "sid",
        }
    }

    fn program(self) -> PathBuf {
        stages().join(format!("cosign-{}/cosign", self.suite()))
    }

    /// Those that can run here; for each other one the reason is printed.
    pub fn ready() -> Vec<Self> {
        let runs = |cosign: &Self| {
            let runs = Command::new(cosign.program()).arg("version").output();
            let runs = runs.is_ok_and(|said| said.status.success());
            if !runs {
                eprintln!(
                    "SKIPPED: {cosign:?}: {} does not run; ci/stages makes it",
                    cosign.program().display()
                );
            }
            runs
        };
        Self::ALL.into_iter().filter(runs).collect()
    }

    /// The forms that this release writes, with what makes it do so.
    pub fn forms(self) -> Vec<(Form, Vec<&'static str>)> {
        let offline = "--tlog-upload=false";
        match self {
            Self::V2 => vec![
                (Form::Tag, vec![offline]),
                (Form::Referrer, vec![offline, "--registry-referrers-mode=oci-1-1"]),
            ],
            Self::V3 => vec![
                (Form::Bundle, vec![offline, "--use-signing-config=false"]),
                (
                    Form::Tag,
                    vec![offline, "--use-signing-config=false", "--new-bundle-format=false"],
                ),
                (
                    Form::Referrer,
                    vec![
                        offline,
                        "--use-signing-config=false",
                        "--new-bundle-format=false",
                        "--registry-referrers-mode=oci-1-1",
                    ],
                ),
            ],
        }
    }

    /// Runs it. What it keeps of its own goes into the stage's folder.
    pub fn run(self, stage: &Stage, args: &[&str]) -> Said {
        Command::new(self.program())
            .args(args)
            .env("HOME", stage.path("."))
            .env("COSIGN_PASSWORD", "")
            .env("COSIGN_EXPERIMENTAL", "1")
            .stdin(Stdio::null())
            .output()
            .unwrap()
            .into()
    }

    /// A pair of keys, NAME.key and NAME.pub in the stage's folder; the path of the public one.
    pub fn key_pair(self, stage: &Stage, name: &str) -> PathBuf {
        let prefix = stage.path(name);
        self.run(
            stage,
            &[
                "generate-key-pair",
                "--output-key-prefix",
                prefix.to_str().unwrap(),
            ],
        )
        .code(0);
        stage.path(&format!("{name}.pub"))
    }

    /// Signs an image in a registry with the key NAME.key.
    #[track_caller]
    pub fn sign(self, stage: &Stage, key: &str, how: &[&str], image: &str) {
        let key = stage.path(&format!("{key}.key"));
        let mut args = vec!["sign", "--yes", "--key", key.to_str().unwrap()];
        args.extend(how);
        args.push(image);
        self.run(stage, &args).code(0);
    }

    /// Whether it finds an image signed by the owner of a public key.
    pub fn verifies(self, stage: &Stage, form: Form, key: &Path, image: &str) -> bool {
        let mut args = vec!["verify", "--insecure-ignore-tlog", "--key", key.to_str().unwrap()];
        if form == Form::Referrer {
            args.push("--experimental-oci11");
        }
        args.push(image);
        self.run(stage, &args).code == 0
    }
}

/// A key on P-256 that OpenSSL made and signs with, to make signatures that cosign would not.
pub struct Signer {
    private: PathBuf,
    /// Its public key, in PEM.
    pub public: PathBuf,
}

impl Signer {
    pub fn new(stage: &Stage, name: &str) -> Self {
        let signer = Self {
            private: stage.path(&format!("{name}.pem")),
            public: stage.path(&format!("{name}.pub")),
        };
        sh(&format!(
            "openssl ecparam -name prime256v1 -genkey -noout -out {0}; openssl ec -in {0} -pubout -out {1} 2>/dev/null",
            signer.private.display(),
            signer.public.display()
        ));
        signer
    }

    /// The signature of these bytes, in base64.
    pub fn sign(&self, bytes: &[u8]) -> String {
        let message = self.private.with_extension("message");
        std::fs::write(&message, bytes).unwrap();
        sh(&format!(
            "openssl dgst -sha256 -sign {} {} | openssl base64 -A",
            self.private.display(),
            message.display()
        ))
    }
}
