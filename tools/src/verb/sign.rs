//! `holdall sign`: a further signature for a sealed disk.

use crate::believe::now;
use crate::exit::{Exit, ToolError};
use crate::output::{self, Output, one_line};
use crate::verb::seal::{is_root, named_keys, read_back, sign_all, signed_by};
use crate::{signal, signing, state};
use holdall::generation;
use holdall::ids::PageHash;
use holdall::medium::{DirectoryMedium, Medium};
use holdall::name::SignerName;
use holdall::seal::{self, Signing};
use holdall::{Error, signature};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "The signature may also be made elsewhere, where the key is kept:
  ssh-keygen -Y sign -f KEY -n holdall-root@v1 < ROOT > alice.sig
  holdall sign DISK --signature alice.sig --signer alice"
)]
#[command(group = clap::ArgGroup::new("by").required(true).args(["keys", "signature"]))]
pub struct Args {
    /// The disk
    medium: PathBuf,
    /// Sign with this key; may be given several times
    #[arg(long = "key", value_name = "FILE")]
    keys: Vec<PathBuf>,
    /// Take this signature of the ROOT, which was made elsewhere
    #[arg(long, value_name = "FILE", conflicts_with = "keys")]
    signature: Option<PathBuf>,
    /// What the signature's file is named by [the key's comment; of a signature made elsewhere, the key's fingerprint]
    #[arg(long, value_name = "NAME", value_parser = SignerName::parse)]
    signer: Option<SignerName>,
    /// The root that the disk must have: what `holdall seal` said where it was sealed
    #[arg(long, value_name = "HASH", value_parser = PageHash::from_hex)]
    root: Option<PageHash>,
    /// Do not read the disk back before it is signed. Custody says so
    #[arg(long)]
    no_readback: bool,
}

/// Runs the verb.
pub fn run(args: &Args, output: &Output) -> Result<Exit, ToolError> {
    if args.signer.is_some() && args.keys.len() > 1 {
        return Err(ToolError::Usage(
            "--signer names one signature: give it with one --key".to_owned(),
        ));
    }
    let interrupted = signal::interrupted()?;
    let keys = named_keys(&args.keys, args.signer)?;
    let medium: Arc<dyn Medium> = Arc::new(DirectoryMedium::open(&args.medium)?);
    let _lock = medium.lock()?;
    let current = generation::current(medium.as_ref(), None)?;
    if !current.warnings.is_empty() {
        return Err(ToolError::Disk(Error::malformed(
            medium.name(),
            format!("what is damaged is not signed: {}", current.warnings.join("; ")),
        )));
    }
    is_root(args.root, &current)?;
    let root = &current.root;
    output.note(format!(
        "signing generation {} of {}, origin {}, series {}, serial {}: root {}",
        root.generation,
        args.medium.display(),
        one_line(&root.origin),
        one_line(&root.series),
        root.serial,
        current.root_hash
    ));
    let (names, said) = match &args.signature {
        None => {
            for (key, name) in &keys {
                let key = key.public().key_data();
                seal::may_sign(medium.as_ref(), &current.root, *name, key)?;
            }
            let read = sign_all(
                &args.medium,
                &medium,
                &current,
                &keys,
                !args.no_readback,
                &interrupted,
                output,
            )?;
            (
                keys.iter().map(|(_, name)| *name).collect(),
                signed_by(&keys, read),
            )
        }
        Some(path) => {
            let armored = signing::made_elsewhere(path)?;
            // Before the disk is read back: one that does not hold is known at once.
            let signed = signature::check(current.root.encode().as_bytes(), armored.as_bytes());
            let signed = signed.map_err(|fault| Error::Untrusted {
                place: path.display().to_string(),
                why: fault.to_string(),
            })?;
            let signer = args
                .signer
                .or_else(|| signing::signer_of(&armored))
                .ok_or_else(|| ToolError::Usage("give the signature a name with --signer".to_owned()))?;
            seal::may_sign(medium.as_ref(), &current.root, signer, signed.key())?;
            let fresh: Arc<dyn Medium> = Arc::new(DirectoryMedium::open_past_caches(&args.medium)?);
            if !args.no_readback {
                read_back(&fresh, &current, &interrupted, output)?;
            }
            let signing = Signing {
                witness: &state::witness(),
                time: now(),
                readback: !args.no_readback,
            };
            seal::attach(&medium, &fresh, &current, signer, &armored, &signing)?;
            (
                vec![signer],
                format!("signed by {signer}, with {}", signed.fingerprint()),
            )
        }
    };
    output.line(format!(
        "generation {} of {}, root {}: {said}",
        current.root.generation,
        args.medium.display(),
        current.root_hash
    ))?;
    let mut result = output::generation(&current.root, current.root_hash);
    if let Some(object) = result.as_object_mut() {
        object.insert(
            "signers".to_owned(),
            json!(names.iter().map(SignerName::as_str).collect::<Vec<_>>()),
        );
    }
    output.result(&result)?;
    Ok(Exit::Done)
}
