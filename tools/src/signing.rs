//! Where signatures come from: a private key at hand, the ssh-agent, `ssh-keygen` (for keys under a passphrase, RSA and FIDO keys), or a file that was
//! signed elsewhere.

use crate::exit::ToolError;
use holdall::name::SignerName;
use holdall::signature::{self, NAMESPACE};
use ssh_agent_client_rs::{Client, Identity};
use ssh_key::{Algorithm, HashAlg, PrivateKey, PublicKey};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A key that can sign.
pub enum Key {
    /// Its private part was read.
    Private(Box<PrivateKey>),
    /// The ssh-agent has it.
    Agent(Box<PublicKey>, PathBuf),
    /// `ssh-keygen` signs, and asks for the passphrase or a touch where it must.
    SshKeygen {
        /// The private key's file.
        file: PathBuf,
        /// Its public part.
        public: Box<PublicKey>,
        /// Whether a passphrase is asked for.
        encrypted: bool,
    },
}

fn text(path: &Path) -> Result<String, ToolError> {
    use std::io::Read as _;
    let failed = |e| ToolError::io(path.display(), e);
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    // A key is some kilobytes.
    file.take(1 << 20).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

impl Key {
    /// The key in a file: a private one, or a public one whose private part the ssh-agent has.
    pub fn read(path: &Path) -> Result<Self, ToolError> {
        let text = text(path)?;
        let refused = |why: String| ToolError::Refused(format!("{}: {why}", path.display()));
        if let Ok(public) = PublicKey::from_openssh(text.trim()) {
            return Self::in_agent(public).map_err(|why| refused(why.to_string()));
        }
        let key = match PrivateKey::from_openssh(&text) {
            Ok(key) => key,
            // ssh-key 0.6 takes no ECDSA key whose scalar begins with zeros (of P-521, every fourth), and none in an older format.
            Err(e) => {
                let public = public_by_ssh_keygen(path).map_err(|why| {
                    refused(format!(
                        "neither a private key of OpenSSH's nor a public one: {e}; ssh-keygen: {why}"
                    ))
                })?;
                // The file beside it has the comment, which older formats do not.
                let beside = public_beside(path).filter(|beside| beside.key_data() == public.key_data());
                return Ok(Self::SshKeygen {
                    file: path.to_owned(),
                    public: Box::new(beside.unwrap_or(public)),
                    encrypted: false,
                });
            }
        };
        // FIDO keys need a touch. RSA: ssh-key 0.6 puts such keys together wrongly, and the rsa crate's private operations are not constant in time.
        let elsewhere = is_fido(&key.algorithm()) || matches!(key.algorithm(), Algorithm::Rsa { .. });
        if key.is_encrypted() || elsewhere {
            // Of a key under a passphrase the file itself gives the public part, without its comment.
            let public = public_beside(path).unwrap_or_else(|| key.public_key().clone());
            return Ok(Self::SshKeygen {
                file: path.to_owned(),
                public: Box::new(public),
                encrypted: key.is_encrypted(),
            });
        }
        Ok(Self::Private(Box::new(key)))
    }

    fn in_agent(public: PublicKey) -> Result<Self, ToolError> {
        let socket = std::env::var_os("SSH_AUTH_SOCK")
            .map(PathBuf::from)
            .ok_or_else(|| {
                ToolError::Refused(
                    "it is a public key, and no ssh-agent is there to sign with it (SSH_AUTH_SOCK)"
                        .to_owned(),
                )
            })?;
        let failed = |e: ssh_agent_client_rs::Error| {
            ToolError::Refused(format!("the ssh-agent at {}: {e}", socket.display()))
        };
        let mut agent = Client::connect(&socket).map_err(failed)?;
        let known = agent.list_all_identities().map_err(failed)?;
        let is_this = |identity: &Identity<'_>| matches!(identity, Identity::PublicKey(key) if key.key_data() == public.key_data());
        if known.iter().any(is_this) {
            return Ok(Self::Agent(Box::new(public), socket));
        }
        Err(ToolError::Refused(format!(
            "the ssh-agent at {} does not have this key",
            socket.display()
        )))
    }

    /// Whether this key makes signatures that hold, tried on bytes that are no ROOT. Where somebody would be asked for a touch or a passphrase it is not
    /// tried.
    pub fn try_out(&self) -> Result<(), ToolError> {
        let is_encrypted = matches!(self, Self::SshKeygen { encrypted: true, .. });
        if is_encrypted || is_fido(&self.public().algorithm()) {
            return Ok(());
        }
        let trial = "a trial of a key, and no ROOT\n";
        let armored = self.sign(trial)?;
        match signature::check(trial.as_bytes(), armored.as_bytes()) {
            Ok(_) => Ok(()),
            Err(_) => Err(ToolError::Refused(format!(
                "this {} key does not make signatures that count: ed25519, ECDSA, and RSA of 2048 bits and more do",
                self.public().algorithm()
            ))),
        }
    }

    /// The key's public part.
    pub fn public(&self) -> &PublicKey {
        match self {
            Self::Private(key) => key.public_key(),
            Self::Agent(public, _) | Self::SshKeygen { public, .. } => public,
        }
    }

    /// The name that its signature's file has, unless another is given: from the key's comment, else from its fingerprint.
    pub fn signer(&self) -> Result<SignerName, ToolError> {
        let nobody = || {
            ToolError::Usage("the key has no comment to name the signature by; give --signer NAME".to_owned())
        };
        SignerName::nearest(self.public().comment())
            .or_else(|| of_fingerprint(self.public()))
            .ok_or_else(nobody)
    }

    /// Signs a ROOT's bytes.
    pub fn sign(&self, root: &str) -> Result<String, ToolError> {
        match self {
            Self::Private(key) => Ok(signature::sign(root.as_bytes(), key)?),
            Self::Agent(public, socket) => {
                let failed = |e: ssh_agent_client_rs::Error| {
                    ToolError::Refused(format!("the ssh-agent at {} did not sign: {e}", socket.display()))
                };
                let bytes = signature::to_sign(root.as_bytes())?;
                let mut agent = Client::connect(socket).map_err(failed)?;
                let signed = agent.sign(&**public, &bytes).map_err(failed)?;
                Ok(signature::armored(public.key_data().clone(), signed)?)
            }
            Self::SshKeygen { file, .. } => by_ssh_keygen(file, root),
        }
    }
}

/// The name of a signature that was made elsewhere, unless another is given: from its key's fingerprint.
pub fn signer_of(armored: &str) -> Option<SignerName> {
    let signature = ssh_key::SshSig::from_pem(armored).ok()?;
    of_fingerprint(&PublicKey::from(signature.public_key().clone()))
}

fn of_fingerprint(key: &PublicKey) -> Option<SignerName> {
    let digest: String = key
        .fingerprint(HashAlg::Sha256)
        .as_bytes()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    SignerName::parse(&format!("key-{digest}")).ok()
}

/// Whether an authenticator holds such keys, and wants a touch for each signature.
const fn is_fido(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256)
}

/// What the file beside a private key says its public part is.
fn public_beside(file: &Path) -> Option<PublicKey> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".pub");
    PublicKey::from_openssh(text(Path::new(&beside)).ok()?.trim()).ok()
}

/// The public part of a private key's file, or what `ssh-keygen` has to say of it.
fn public_by_ssh_keygen(file: &Path) -> Result<PublicKey, String> {
    let said = Command::new("ssh-keygen")
        .args(["-y", "-f"])
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| e.to_string())?;
    if !said.status.success() {
        let why = String::from_utf8_lossy(&said.stderr);
        return Err(why
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect::<Vec<_>>()
            .join("; "));
    }
    let public = String::from_utf8_lossy(&said.stdout);
    PublicKey::from_openssh(public.trim()).map_err(|e| e.to_string())
}

fn by_ssh_keygen(file: &Path, root: &str) -> Result<String, ToolError> {
    let failed = |e| ToolError::io("ssh-keygen", e);
    // What it asks goes to the terminal, and it says on standard error what it waits for.
    let mut child = Command::new("ssh-keygen")
        .args(["-Y", "sign", "-n", NAMESPACE, "-f"])
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(root.as_bytes()).map_err(failed)?;
    }
    let done = child.wait_with_output().map_err(failed)?;
    if !done.status.success() {
        return Err(ToolError::Refused(format!(
            "ssh-keygen did not sign with {} ({})",
            file.display(),
            done.status
        )));
    }
    String::from_utf8(done.stdout)
        .map_err(|_| ToolError::Refused("ssh-keygen wrote something that is no signature".to_owned()))
}

/// Reads a signature that was made elsewhere.
pub fn made_elsewhere(path: &Path) -> Result<String, ToolError> {
    text(path)
}
